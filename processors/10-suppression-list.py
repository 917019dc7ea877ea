#!/usr/bin/env python3
"""Keep a suppression list in an SQLite file: who opted out, complained or bounced, and when.

Install:  copy into the processors folder, chmod +x. It passes over other types, and tests.
Variable: SUPPRESSION_DB, the absolute path of the file, in a folder that the service may write to. Name it in
          spooler.toml (environment) and set it for the service. Until then all is tried again later.
One row per notification, under its id, so a second run adds nothing. `contact` is idContact, or '';
`contact_id` ContactID as JSON; `field` the opt-in field, or '' for all. Taking people off again is up to you.
"""

import json
import os
import sqlite3
import sys

REASONS = {"contact_optout", "contact_complaint", "sending_bounce"}
TABLE = """CREATE TABLE IF NOT EXISTS suppression (webhook TEXT, id TEXT, contact TEXT, contact_id TEXT,
    reason TEXT, field TEXT, received TEXT, PRIMARY KEY (webhook, id))"""
ROW = """INSERT INTO suppression VALUES (:SPOOLER_WEBHOOK, :SPOOLER_ID, :SPOOLER_CONTACT, :contact_id,
    :SPOOLER_TYPE, :field, :SPOOLER_RECEIVED)
    ON CONFLICT (webhook, id) DO UPDATE SET received = min(received, excluded.received)"""
row, path = dict(os.environ), os.environ.get("SUPPRESSION_DB", "")
if row["SPOOLER_TYPE"].lower() not in REASONS or row["SPOOLER_TEST"] != "0":
    sys.exit(0)
try:
    body = json.load(sys.stdin.buffer, parse_int=lambda n: int(n) if len(n) < 4000 else n)  # int has a limit
    who, field = (body.get("ContactID"), body.get("OptinField")) if isinstance(body, dict) else (None, None)
    if not isinstance(who, dict) or not (row["SPOOLER_CONTACT"] or any(who.values())):
        print("give up: the body names no contact", file=sys.stderr)
        sys.exit(65)
    field = field.encode("utf-8", "backslashreplace").decode() if isinstance(field, str) else ""
    row |= {"contact_id": json.dumps(who, sort_keys=True), "field": field}  # SQLite takes no half surrogate
    # A relative path would go away with the working folder; "/" can't be opened, and is tried again later.
    with sqlite3.connect(path if path.startswith("/") else "/", timeout=20) as database:
        database.execute("PRAGMA synchronous = EXTRA")  # a row that was committed survives a power cut
        database.execute(TABLE).execute(ROW, row)
except (ValueError, RecursionError, sqlite3.Error) as error:  # a body to give up, or a database to wait for
    print(f"{error} (SUPPRESSION_DB is {path!a})", file=sys.stderr)
    sys.exit(75 if isinstance(error, sqlite3.Error) else 65)
