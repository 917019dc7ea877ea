<?php
// The pattern that the sender's documentation recommends: take the body, write it to a file, answer.
$body = file_get_contents('php://input');
if (file_put_contents($_SERVER['BENCH_FOLDER'] . '/' . uniqid('', true) . '.json', $body) === false) {
    http_response_code(500);
}
