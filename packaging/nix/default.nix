# ostler for Nix. `cargo xtask dist` fills in version and checksums; `nix-build packaging/nix` needs the filled one.
{ pkgs ? import <nixpkgs> { } }:
let
  version = "@VERSION@";
  archives = {
    x86_64-linux = { name = "x86_64"; sha256 = "@SHA256_x86_64@"; };
    aarch64-linux = { name = "aarch64"; sha256 = "@SHA256_aarch64@"; };
  };
  archive = archives.${pkgs.stdenv.hostPlatform.system} or (throw "ostler: there is no program for ${pkgs.stdenv.hostPlatform.system}");
in
pkgs.stdenvNoCC.mkDerivation {
  pname = "ostler";
  inherit version;
  src = pkgs.fetchurl {
    url = "https://example.invalid/ostler/releases/${version}/ostler-${version}-${archive.name}-linux.tar.gz";
    inherit (archive) sha256;
  };
  nativeBuildInputs = [ pkgs.installShellFiles ];
  installPhase = ''
    install -Dm755 ostler $out/bin/ostler
    installManPage ostler.1
    installShellCompletion --bash --name ostler ostler.bash --zsh --name _ostler _ostler --fish --name ostler.fish ostler.fish
  '';
  meta = {
    description = "Process manager for production, a drop-in replacement of PM2";
    homepage = "https://example.invalid/ostler";
    license = with pkgs.lib.licenses; [ mit asl20 ];
    platforms = builtins.attrNames archives;
    mainProgram = "ostler";
  };
}
