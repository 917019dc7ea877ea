<?php
// The same, as somebody writes it who wants no forgery and no torn or lost file: check, write, sync, rename.
$body = file_get_contents('php://input');
$signature = base64_decode($_SERVER['HTTP_X_DI_SIGNATURE'] ?? '', true);
$key = openssl_pkey_get_public(file_get_contents($_SERVER['BENCH_KEY']));
if ($signature === false || openssl_verify($body, $signature, $key, OPENSSL_ALGO_SHA256) !== 1) {
    http_response_code(401);
    exit;
}
$name = $_SERVER['BENCH_FOLDER'] . '/' . uniqid('', true);
$file = fopen("$name.new", 'x');
$stored = $file && fwrite($file, $body) === strlen($body) && fsync($file) && fclose($file)
    && rename("$name.new", "$name.json");
if (!$stored) {
    http_response_code(500);
}
