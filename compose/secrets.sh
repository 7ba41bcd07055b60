#!/bin/sh
# Makes the secrets of the lab's containers, once, in the folder that is given; nothing is overwritten.
set -eu
folder=$1
umask 077
mkdir -p "$folder"
cd "$folder"

random() { head -c "${1:-32}" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
once() { [ -s "$1" ] || { printf '%s' "$2" >"$1.new" && mv "$1.new" "$1"; }; }

for name in auth_secret_key resource_secret_key client_secret_key resource_secret client_secret lab_key \
            postgres_password auth_db_password resource_db_password \
            redis_auth redis_resource redis_client redis_admin; do
  once "$name" "$(random)"
done
# Fernet keys: 32 bytes with their padding
once auth_data_key "$(random)="
once client_data_key "$(random)="

once auth_database_url "postgresql+psycopg://auth:$(cat auth_db_password)@postgres/auth"
once resource_database_url "postgresql+psycopg://resource:$(cat resource_db_password)@postgres/resource"
for who in auth resource client; do
  once "${who}_redis_url" "redis://$who:$(cat "redis_$who")@redis/0"
done

hash() { printf '%s' "$(cat "$1")" | sha256sum | cut -d ' ' -f 1; }
# each service's own prefix, and what all share in the lab; nobody may scan, flush or configure
allowed='resetchannels &lab:* -@all +@read +@write +@string +@hash +@set +@list +@stream +@connection +@transaction +@pubsub +@scripting +info -@dangerous +info -@admin -scan -randomkey'
once users.acl "user default off
user admin on #$(hash redis_admin) ~* &* +@all
user auth on #$(hash redis_auth) ~auth:* ~lab:* $allowed
user resource on #$(hash redis_resource) ~resource:* ~lab:* $allowed
user client on #$(hash redis_client) ~client:* ~lab:* $allowed
"
# containers read them as other users; the folder itself is closed
chmod 755 . && chmod 644 ./*
chmod 700 "$(dirname "$PWD")"
