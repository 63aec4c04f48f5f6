require_relative 'boot'
require 'rails'
require 'action_controller/railtie'
Bundler.require(*Rails.groups)

module Shop
  class Application < Rails::Application
    config.load_defaults 6.1
    config.api_only = true
    config.eager_load = ENV['RAILS_ENV'] == 'production'
    # Lines go to standard output: ostler keeps and rotates them.
    config.logger = ActiveSupport::Logger.new($stdout).tap { |logger| logger.formatter = ::Logger::Formatter.new }
    config.log_level = :warn
    # All instances need the same key as soon as there are sessions: give it in the environment.
    config.secret_key_base = ENV.fetch('SECRET_KEY_BASE') { SecureRandom.hex(64) }
    config.hosts.clear
  end
end
