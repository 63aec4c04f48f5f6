<?php

namespace App\Http\Controllers;

use Illuminate\Http\JsonResponse;
use Illuminate\Http\Response;
use Illuminate\Routing\Controller;

class HomeController extends Controller
{
    public function hello(): Response
    {
        return response('Hello from Laravel, process ' . getmypid() . "\n")->header('Content-Type', 'text/plain');
    }

    public function health(): JsonResponse
    {
        return response()->json(['status' => 'ok']);
    }
}
