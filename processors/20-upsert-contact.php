#!/usr/bin/env php
<?php
// Keeps every contact as it was last modified in a table of a database: SQLite or PostgreSQL, through PDO.
//
// Install:  copy into the processors folder, chmod +x. It passes over other types, and tests.
//           SQLite: the table is made here. PostgreSQL: somebody who may create tables runs TABLE below once.
// Variable: CONTACT_DSN, "sqlite:/var/lib/crm/contacts.db" or "pgsql:host=db dbname=crm user=spooler"; the
//           password belongs in ~/.pgpass. Name it in spooler.toml (environment) and set it for the service.
//           Until then all is tried again later.
// One row per contact. A second run changes nothing, and an older change never overwrites a newer one.

const TYPES = ['contact_modified'];
const TABLE = 'CREATE TABLE IF NOT EXISTS contacts (webhook TEXT, contact TEXT, received TEXT NOT NULL,
    id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (webhook, contact))';
const ROW = 'INSERT INTO contacts (webhook, contact, received, id, body) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (webhook, contact) DO UPDATE SET received = excluded.received, id = excluded.id,
    body = excluded.body WHERE contacts.received <= excluded.received';
function stop(int $status, string $why): never { fwrite(STDERR, "$why\n"); exit($status); }

[$dsn, $webhook, $contact, $received, $id] = array_map(fn($name) => (string) getenv($name),
    ['CONTACT_DSN', 'SPOOLER_WEBHOOK', 'SPOOLER_CONTACT', 'SPOOLER_RECEIVED', 'SPOOLER_ID']);
if (!in_array(getenv('SPOOLER_TYPE'), TYPES, true) || getenv('SPOOLER_TEST') !== '0') exit(0);
if (!preg_match('~^(sqlite:/|pgsql:)~', $dsn)) stop(75, 'CONTACT_DSN is not "sqlite:/..." or "pgsql:..."');
if ($contact === '') stop(65, 'give up: the body names no contact');
// It is JSON: spooler has checked that, and takes what json_decode doesn't, like half a surrogate pair.
$body = preg_replace('/^\xEF\xBB\xBF/', '', stream_get_contents(STDIN));
try {
    $database = new PDO($dsn, null, null, [PDO::ATTR_TIMEOUT => 20]);
    if ($dsn[0] === 's') $database->exec('PRAGMA synchronous = EXTRA; ' . TABLE);
    $insert = $database->prepare(ROW);
    $insert->execute([$webhook, $contact, $received, $id, $body]);
    echo $insert->rowCount() ? "contact $contact is up to date\n" : "contact $contact is already newer\n";
} catch (PDOException $error) { // classes 22 and 23: this value can't be stored, today or tomorrow
    $lasting = in_array(substr((string) $error->getCode(), 0, 2), ['22', '23'], true);
    stop($lasting ? 65 : 75, $error->getMessage());
}
