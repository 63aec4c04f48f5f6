<?php

use App\Http\Controllers\HomeController;
use Illuminate\Support\Facades\Route;

Route::get('/', [HomeController::class, 'hello']);
Route::get('/health', [HomeController::class, 'health']);
