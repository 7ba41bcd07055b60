#!/bin/sh
# Creates a database and a role for each service that needs one. A role cannot connect to another database.
set -eu
for service in auth resource; do
  psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<SQL
CREATE ROLE $service LOGIN PASSWORD '$(cat "/run/secrets/${service}_db_password")';
CREATE DATABASE $service OWNER $service;
REVOKE CONNECT ON DATABASE $service FROM PUBLIC;
SQL
done
