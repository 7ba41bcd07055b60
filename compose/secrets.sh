#!/bin/sh
# Generates the secrets of the containers in the given folder. Existing secrets are kept.
# `secrets.sh secrets` is for compose.production.yml; `make up` runs `secrets.sh .rolecall/compose lab`.
set -eu
folder=$1
lab=${2:-}
umask 077
mkdir -p "$folder"
cd "$folder"

random() { head -c "${1:-32}" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
once() { [ -s "$1" ] || { printf '%s' "$2" >"$1.new" && mv "$1.new" "$1"; }; }

for name in auth_secret_key resource_secret_key client_secret_key resource_secret client_secret \
            postgres_password auth_db_password resource_db_password redis_auth redis_client redis_admin; do
  once "$name" "$(random)"
done
# Fernet keys: 32 bytes with their padding
once auth_data_key "$(random)="
once client_data_key "$(random)="

for who in auth resource; do
  once "${who}_database_url" "postgresql+psycopg://$who:$(cat "${who}_db_password")@postgres/$who"
done
services="auth client"
shared=
if [ "$lab" = lab ]; then
  once lab_key "$(random)"
  once redis_resource "$(random)"
  services="auth resource client"
  # shared by all services: recorded events and the clock
  shared="~lab:* &lab:*"
fi

# each service can use only its prefix, and cannot scan, flush, or configure
allowed='-@all +@read +@write +@string +@hash +@set +@list +@stream +@connection +@transaction +@pubsub +@scripting +info -@dangerous +info -@admin -scan -randomkey'
hash() { printf '%s' "$(cat "$1")" | sha256sum | cut -d ' ' -f 1; }
acl="user default off
user admin on #$(hash redis_admin) ~* &* +@all
"
for who in $services; do
  once "${who}_redis_url" "redis://$who:$(cat "redis_$who")@redis/0"
  acl="${acl}user $who on #$(hash "redis_$who") ~$who:* resetchannels $shared $allowed
"
done
if [ "$lab" = lab ]; then
  # reads the recorded events, and deletes old ones
  once redis_observer "$(random)"
  once observer_redis_url "redis://observer:$(cat redis_observer)@redis/0"
  acl="${acl}user observer on #$(hash redis_observer) ~lab:* resetchannels -@all +@connection +multi +exec +time +hget +xread +xlen +xrange +xrevrange +xtrim +xdel
"
fi
# always regenerated from the secrets, so that changed permissions take effect at the next start of Redis
printf '%s' "$acl" >users.acl
# containers read the files as other users; on the host, the folder's permissions protect them
chmod 644 ./*
chmod 700 .
