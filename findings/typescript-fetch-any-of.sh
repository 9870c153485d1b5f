#!/usr/bin/env bash
# openapi-generator's typescript-fetch makes one type of the alternatives of `anyOf`, which asks for the fields of all.
#
# Expected: `anyOf: [Predictions, Failure]` becomes the union type `Predictions | Failure`, as `oneOf` does.
# What happens: it becomes one interface in which the required fields of both are required. Its check `instanceOf...`
#   says false to each of the alternatives, and `...FromJSON` gives every answer both fields, one of them undefined. The
#   types then tell the caller that `error` is always there. The generator prints no warning about it.
# Why it matters here: FastAPI writes `anyOf` for every `A | B`. A result here is predictions or an error, so
#   /openapi.json says `oneOf` for it, and the two have no common instance.
set -euo pipefail
command -v java >/dev/null || { echo "needs java (11 or newer)"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check openapi-generator-cli==7.26.0
cat > "$folder/api.json" <<'JSON'
{"openapi": "3.1.0", "info": {"title": "results", "version": "1"},
 "paths": {
  "/any": {"get": {"operationId": "any", "responses": {"200": {"description": "a result", "content":
    {"application/json": {"schema": {"$ref": "#/components/schemas/AnyResult"}}}}}}},
  "/one": {"get": {"operationId": "one", "responses": {"200": {"description": "a result", "content":
    {"application/json": {"schema": {"$ref": "#/components/schemas/OneResult"}}}}}}}},
 "components": {"schemas": {
  "Predictions": {"type": "object", "required": ["predictions"],
    "properties": {"predictions": {"type": "array", "items": {"type": "string"}}}},
  "Failure": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
  "AnyResult": {"anyOf": [{"$ref": "#/components/schemas/Predictions"}, {"$ref": "#/components/schemas/Failure"}]},
  "OneResult": {"oneOf": [{"$ref": "#/components/schemas/Predictions"}, {"$ref": "#/components/schemas/Failure"}]}}}}
JSON
"$folder/env/bin/openapi-generator-cli" generate -i "$folder/api.json" -g typescript-fetch -o "$folder/client" \
  > "$folder/log" 2>&1 || { cat "$folder/log"; exit 2; }
java -version 2>&1 | head -1
echo "openapi-generator $("$folder/env/bin/openapi-generator-cli" version)"
echo "lines of its log that name anyOf: $(grep -ci anyof "$folder/log" || true)"
one=$(grep '^export type OneResult' "$folder/client/models/OneResult.ts" || true)
any=$(sed -n '/^export interface AnyResult/,/^}/p; /^export function instanceOf/,/^}/p' \
  "$folder/client/models/AnyResult.ts" | grep -v '\*')
echo "oneOf: $one"
echo "anyOf: $any"
if [ "$one" = "export type OneResult = Failure | Predictions;" ] \
  && grep -q '^    predictions: ' <<< "$any" && grep -q '^    error: ' <<< "$any"; then
  echo "as described"
else
  echo "the behaviour has changed"
  exit 1
fi
