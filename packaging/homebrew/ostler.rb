# Formula for Homebrew on Linux. `cargo xtask dist` fills in version and checksums.
class Ostler < Formula
  desc "Process manager for production, a drop-in replacement of PM2"
  homepage "https://example.invalid/ostler"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on :linux

  on_intel do
    url "https://example.invalid/ostler/releases/@VERSION@/ostler-@VERSION@-x86_64-linux.tar.gz"
    sha256 "@SHA256_x86_64@"
  end

  on_arm do
    url "https://example.invalid/ostler/releases/@VERSION@/ostler-@VERSION@-aarch64-linux.tar.gz"
    sha256 "@SHA256_aarch64@"
  end

  def install
    bin.install "ostler"
    man1.install "ostler.1"
    bash_completion.install "ostler.bash" => "ostler"
    zsh_completion.install "_ostler"
    fish_completion.install "ostler.fish"
  end

  test do
    assert_equal version.to_s, shell_output("#{bin}/ostler --version").strip
  end
end
