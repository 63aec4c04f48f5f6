<?php

// Composer's autoloader; without Composer, Debian's package php-laravel-framework.
if (is_file(__DIR__ . '/vendor/autoload.php')) {
    return require __DIR__ . '/vendor/autoload.php';
}
require 'Illuminate/autoload.php';
spl_autoload_register(function (string $class): void {
    $file = __DIR__ . '/app/' . str_replace('\\', '/', substr($class, 4)) . '.php';
    if (strncmp($class, 'App\\', 4) === 0 && is_file($file)) {
        require $file;
    }
});
