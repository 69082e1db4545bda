#!/usr/bin/env bash
# Run once by the PostgreSQL container of compose.yaml, as its superuser, when the database is new: the two roles that
# Kuvend knows, and the extension, which only a superuser can create.
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set database="$POSTGRES_DB" --set password="$KUVEND_OWNER_PASSWORD" <<'SQL'
CREATE EXTENSION IF NOT EXISTS vector;
CREATE ROLE kuvend_owner LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
ALTER DATABASE :"database" OWNER TO kuvend_owner;
SQL

psql --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set owner=kuvend_owner --set role=kuvend_app --set password="$KUVEND_APP_PASSWORD" --file /etc/kuvend/roles.sql
