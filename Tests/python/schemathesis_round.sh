#!/usr/bin/env bash
# One bounded round of schemathesis against a running server: every operation of the OpenAPI document that it serves
# is called with valid and with broken input, and every answer is checked against what the document promises.
#
# Usage: KUVEND_API_TOKEN=... Tests/python/schemathesis_round.sh BASE_URL [OPTION of 'schemathesis run'...]
#
# The seed is fixed and nothing is remembered between rounds, so that the same server gets the same round. With
# KUVEND_TEST_LONG=1 the round is ten times as long. To repeat one failure: add --include-path /api/v1/...
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.build/venv/bin" && pwd -P)
base_url=${1:?a base URL such as http://127.0.0.1:8080 is needed}
shift
: "${KUVEND_API_TOKEN:?an access token of an owner is needed}"

case $base_url in
    http://127.0.0.1:* | http://localhost:* | 'http://[::1]:'*) ;;
    *)
        echo "error: this sends thousands of broken requests; it is for a server on this machine only." >&2
        exit 1
        ;;
esac

# What each answer is checked for:
#   not_a_server_error           no 5xx
#   status_code_conformance      a status that the operation declares
#   content_type_conformance     a content type that the answer declares
#   response_headers_conformance the headers that it declares
#   response_schema_conformance  a body that fits its schema
#   negative_data_rejection      what breaks the schema is refused
#   ignored_auth                 without a token, and with a false one, a protected operation is refused
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,negative_data_rejection,ignored_auth

examples=40
if [[ ${KUVEND_TEST_LONG:-} == 1 ]]; then examples=400; fi

# Not called, each for a reason:
#   .../events   a live stream that ends only when the client goes
#   /auth/logout, /auth/refresh  end what the token of this round stands for
excluded='(/conversations/\{[^}]+\}/events|/auth/logout|/auth/refresh)$'

cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
# The token comes from the environment and stays out of the process list.
cat >schemathesis.toml <<'TOML'
headers = { Authorization = "Bearer ${KUVEND_API_TOKEN}" }
TOML

"$tools/schemathesis" --config-file schemathesis.toml run "$base_url/api/v1/openapi.json" \
    --origin "$base_url" \
    --phases examples,coverage,fuzzing,stateful \
    --checks "$checks" \
    --exclude-path-regex "$excluded" \
    --max-examples "$examples" \
    --seed 20260501 \
    --generation-database none \
    --max-failures 50 \
    --suppress-health-check all \
    --continue-on-failure \
    --request-timeout 20 \
    --max-redirects 0 \
    --no-color \
    "$@"
