-- The user that the server connects as. It takes the role kuvend_app, which reads and writes rows, owns nothing, and cannot
-- get around row level security; the migrations give kuvend_app its rights on the tables.
--
-- For psql, connected to Kuvend's database as a superuser, before the first `kuvend migrate`:
--
--     psql --set owner=kuvend_owner --set role=kuvend_server --set password=... --file Scripts/roles.sql URL
--
-- `owner` is the user that `kuvend migrate` connects as; it must exist. May be run again. `role` may be kuvend_app itself.

\set ON_ERROR_STOP on

SELECT 'CREATE ROLE kuvend_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'kuvend_app')
\gexec

SELECT format('CREATE ROLE %I', :'role')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role')
\gexec

ALTER ROLE :"role" LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

SELECT format('GRANT kuvend_app TO %I', :'role') WHERE :'role' <> 'kuvend_app'
\gexec

SELECT format('GRANT kuvend_app TO %I WITH ADMIN OPTION', :'owner') WHERE :'owner' <> 'kuvend_app'
\gexec
