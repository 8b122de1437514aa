#!/bin/sh
# Makes the certificates of the TLS tests: an authority, a server of this machine, and the client "ada". They prove nothing
# to anybody else, and their keys are no secret.
set -eu
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
key ca.key
openssl req -x509 -new -key ca.key -sha256 -days 36500 -subj "/CN=auspex test authority" -out ca.pem
sign() {
  key "$1.key"
  printf '%s\n' "$3" > extensions
  openssl req -new -key "$1.key" -subj "/CN=$2" -out request
  openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -sha256 -days 36500 -extfile extensions -out "$1.pem"
}
sign server localhost "subjectAltName = DNS:localhost, IP:127.0.0.1"
sign client ada "extendedKeyUsage = clientAuth"
rm -f ca.key ca.srl extensions request
