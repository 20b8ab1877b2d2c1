#!/bin/sh
# Fills corpus/ from the fixtures, so that fuzzing starts with documents that are right. `fuzz/run` has made a folder for each target.
set -eu
cd "$(dirname "$0")"
fixtures=../tests/fixtures/diego

for folder in "$fixtures"/mtls-*; do
    name=$(basename "$folder")
    cp "$folder/envoy_config/envoy.yaml" "corpus/bootstrap/$name.yaml"
    for file in "$folder"/envoy_config/sds-*.yaml; do
        cp "$file" "corpus/sds/$name-$(basename "$file")"
    done
    openssl x509 -in "$folder/cf-instance-credentials/instance.crt" -outform DER -out "corpus/certificate/$name.der"
done
for file in "$fixtures"/pki/*.pem "$fixtures"/pki/*.crt; do
    openssl x509 -in "$file" -outform DER -out "corpus/certificate/$(basename "$file").der"
done

cp "$fixtures"/pki/*.pem "$fixtures"/pki/*.crt "$fixtures"/pki/*.key corpus/pem/
cat "$fixtures"/pki/*.crt | tr '\n' ' ' >corpus/pem/one-line

guid=7d6b3f5e-9a1c-4f0e-8b59-0f6a3a1d2c11
i=0
for rule in "cf:app:$guid" "cf:space:$guid" "cf:org:$guid" "cf:instance:51f0a000-a1b2-4c3d-5e6f-7a00" cf:any cf:same:app \
    dns:gorouter.service.cf.internal 'dns:*.apps.internal' 'uri:spiffe://example.org/*' cn:router any anonymous; do
    i=$((i + 1))
    printf %s "$rule" >"corpus/rule/$i"
done

printf 'PROXY TCP4 192.0.2.1 192.0.2.2 40000 8443\r\n' >corpus/header/v1
printf '\r\n\r\n\000\r\nQUIT\n\041\021\000\014\300\000\002\001\300\000\002\002\234\100\040\373' >corpus/header/v2

# Suite, flags, eight bytes that decide on the reads, and then two bytes for each step: data and key updates, an answer, the end.
printf '\000\003seedseed\000\100\011\000\000\100\023\100\016\000\033\000' >corpus/session/tls13
printf '\003\003seedseed\000\100\023\100\016\000\037\100\000\010\033\000' >corpus/session/tls12
# Of a server: tickets as well, with new keys behind them; and the wish to begin anew.
printf '\000\003seedseed\000\100\034\200\023\100\034\217\000\004\016\000\011\001\033\000' >corpus/session_with_server/tls13
printf '\003\003seedseed\000\100\035\000\023\100\016\000\037\100\000\010\033\000' >corpus/session_with_server/tls12

# Who is asked and how the bytes are cut, and then requests.
printf '\377GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello' >corpus/request/known
printf '\007POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nx: y\r\n\r\n' >corpus/request/chunked
printf '\376GET /a;b/%%2e%%2e/c#d HTTP/1.1\r\nHost: a:80\r\n\r\nGET http://a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n' \
    >corpus/request/server
for request in 'GET http://backend.apps.internal:61443/a?b HTTP/1.1\r\nHost: c\r\n\r\n' 'CONNECT [fd00::1]:61443 HTTP/1.1\r\n\r\n' \
    'OPTIONS http://backend HTTP/1.1\r\n\r\nPOST ws://10.0.0.1:/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nokGET http://b?c HTTP/1.0\r\n\r\n'; do
    i=$((i + 1))
    printf "$request" >"corpus/proxy_request/$i"
done
head='Host: localhost\r\nX-Identity-Request: true\r\n'
printf "\\377GET /identity HTTP/1.1\r\n$head\r\n" >corpus/identity_connection/identity
printf "\\007POST /token HTTP/1.1\r\n${head}Content-Type: application/json\r\nContent-Length: 16\r\n\r\n"'{"audience":"a"}' >corpus/identity_connection/token
printf "\\007POST /verify HTTP/1.1\r\n${head}Content-Type: application/json\r\nContent-Length: 28\r\n\r\n"'{"token":"x","audience":"a"}' >corpus/identity_connection/verify
i=0
for target in backend.apps.internal:61443 '*.apps.internal:61443=cf:same:space' '10.255.0.0/16:62443=cf:any' '[fd00::1]:1' 127.1:80 \
    backend:80=:61443 9000=backend:1 http://user:password@proxy:3128; do
    i=$((i + 1))
    printf %s "$target" >"corpus/target/$i"
done
i=0
for path in '/a/%2e%2e/b?c' '/a/..;x=1/b#c' '/b%2fc' '//a\..\b' '/caf%c3%a9/%40;v=1' '/%c0%ae' '*' '/../a'; do
    i=$((i + 1))
    printf %s "$path" >"corpus/path/$i"
done

# Header and claims, each on a line, and a signature that is none.
x5c=$(openssl x509 -in "$fixtures/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt" -outform DER | base64 -w 0)
claims='{"iss":"cf:app:'$guid'","sub":"cf:app:'$guid'","aud":"me","iat":1795348800,"nbf":1795348770,"exp":1795349100,"jti":"a"}'
printf '{"alg":"RS256","typ":"JWT","x5c":["%s"]}\n%s\nsignature' "$x5c" "$claims" >corpus/token/standard
printf '{"alg":"PS256","JWK":{"kty":"RSA","x5c":["%s"]}}\n%s\nsignature' "$x5c" "$claims" >corpus/token/comcast
printf %s "$claims" >corpus/json/claims
printf '{"a":[1,-2,1.5e3,"\\u00e9",null,true,{"b":{}}]}' >corpus/json/all
printf '[[role]]\nname = "a"\nallow = ["cf:app:%s"]\ndeny = ["cf:any"]\npolicies = ["p"]\nmax-ttl = "1h"\n[[grant]]\nallow = ["any"]\npolicies = ["q"]\n' \
    "$guid" >corpus/roles/both
i=0
for reference in 'vault:secret/data/app#password#3?file&optional' 'pg://${vault:a#u}:${vault:a#p}@h' 'transit:m/k:vault:v1:AA==' \
    'credhub:/c/x#y' 'file:/etc/x?optional' '>>vault:a#b' 'vault:v1:AA=='; do
    i=$((i + 1))
    printf %s "$reference" >"corpus/secret_reference/$i"
done
printf '{"a":[{"credentials":{"credhub-ref":"((/x))"}},{"credentials":{"p":"vault:a#b","q":[1.50,"\\u00e4"]}}]}' >corpus/secret_document/known
printf '{"a":[{"credentials":{"p":"x"}}]}' >corpus/credhub_answer/document
printf '{"data":[{"type":"json","value":{"a":1}}]}' >corpus/credhub_answer/credential
printf '{"auth":{"client_token":"hvs.x","lease_duration":60,"renewable":true,"num_uses":1}}' >corpus/vault_answer/login
printf '{"auth":null,"wrap_info":{"token":"hvs.w","ttl":60,"creation_path":"auth/cf/login"}}' >corpus/vault_answer/wrapped
printf '{"lease_id":"a/b","lease_duration":60,"renewable":true,"data":{"data":{"a":"b"},"metadata":{"version":1}}}' >corpus/vault_answer/secret
printf '{"data":{"plaintext":"QUJD"}}' >corpus/vault_answer/opened
printf '{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}' >corpus/vault_answer/refused

# As gorouter and Envoy write it, and the certificate that it is written of.
leaf=$fixtures/mtls-on_http2-on_ports-8080-9090/cf-instance-credentials/instance.crt
openssl x509 -in "$leaf" -outform DER -out corpus/xfcc/certificate
printf %s "$x5c" >corpus/xfcc/raw
subject=$(openssl x509 -in "$leaf" -noout -subject -nameopt RFC2253 | sed 's/^subject=//')
hash=$(sha256sum corpus/xfcc/certificate | cut -d ' ' -f 1)
printf 'By=spiffe://us;Hash=%s;Subject="%s";URI=;DNS=a.example' "$hash" "$subject" >corpus/xfcc/envoy
pem=$(openssl x509 -in "$leaf" | sed 's/+/%2B/g; s,/,%2F,g; s/=/%3D/g; s/ /%20/g' | awk '{ printf "%s%%0A", $0 }')
printf 'Hash="%s";Cert="%s";Chain="%s";Subject="%s";DNS="x\\"y,z"' "$hash" "$pem" "$pem" "$subject" >corpus/xfcc/cert

cp "$fixtures"/pki/*.pem "$fixtures"/pki/*.crt corpus/trust_anchors/
printf 'mode = "enforce"\nallow = ["cf:space:%s"]\ndeny = ["cf:any"]\n[[route]]\npath = "/a"\nmethods = ["GET"]\nallow = ["any"]\n' "$guid" \
    >corpus/policy_file/known
printf 'listen = "127.0.0.1:8443"\napp = 8080\nclient-auth = "require"\nclient-ca = "ca.pem"\nallow = ["any"]\n[[outbound]]\nlisten = 9000\nto = "b:1"\n' \
    >corpus/config_file/known
printf '[[listener]]\nlisten = 8443\napp = 8080\nmode = "http"\n[[listener.route]]\npath = "/"\nallow = ["anonymous"]\n' >corpus/config_file/http
printf '\002\026\003\001\000\005\001\000\000\001\003' >corpus/client_hello/begun
printf '\003GET / HTTP/1.1\r\n' >corpus/client_hello/http

# The length of the client's request behind that of a piece, the request, and what the app answers.
get='GET / HTTP/1.1\r\nHost: a\r\n\r\n'
printf "\\000\\033${get}HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok" >corpus/response/silent
printf "\\011\\033${get}HTTP/1.1 103 Early\\r\\nA: b\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\nConnection: keep-alive\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nok\\r\\n0\\r\\n\\r\\n" \
    >corpus/response/interim
printf '\003\000\202\176\000\003abc\201\003abc\211\000\210\002\003\350' >corpus/response/web_socket
printf '\005\000\000\006\004\000\000\000\000\000\000\003\000\000\000\144\000\000\004\010\000\000\000\000\000\000\000\377\377\000\000\002\000\001\000\000\000\001ok\000\000\010\006\000\000\000\000\000pingpong' \
    >corpus/frames/known
json='Content-Type: application/json\r\n'
printf "\\000HTTP/1.1 200 OK\\r\\n${json}Content-Length: 2\\r\\n\\r\\n{}" >corpus/api_response/known
printf "\\007HTTP/1.1 100 Continue\\r\\n\\r\\nHTTP/1.1 404 Not Found\\r\\n${json}Transfer-Encoding: chunked\\r\\n\\r\\n2;a=b\\r\\n{}\\r\\n0\\r\\nx: y\\r\\n\\r\\n" \
    >corpus/api_response/chunked
printf '\001HTTP/1.0 503 Sealed\r\n\r\n{"errors":["Vault is sealed"]}' >corpus/api_response/until_closed

# Answers to A, AAAA and CNAME: an address of each family; an alias with its address, and one without an end; no such name.
a='\300\014\000\001\000\001\000\000\000\074\000\004\300\000\002\001'
aaaa='\300\014\000\034\000\001\000\000\000\074\000\020\040\001\015\270\000\000\000\000\000\000\000\000\000\000\000\001'
alias='\300\014\000\005\000\001\000\000\000\074\000\007\005other\000'
other='\005other\000\000\001\000\001\000\000\000\074\000\004\300\000\002\002'
none='\000\200\000\000\000'
printf "\\000\\000\\025\\000\\200\\001\\000\\000$a\\100\\041\\000\\200\\001\\000\\000$aaaa" >corpus/dns_answer/both
printf "\\001\\000\\056\\000\\200\\002\\000\\000$alias$other\\100\\005$none" >corpus/dns_answer/alias
printf "\\000\\000\\030\\000\\200\\001\\000\\000$alias\\100\\005$none\\200\\030\\000\\200\\001\\000\\000$alias" >corpus/dns_answer/endless
printf '\000\000\005\000\203\000\000\000\100\005\000\203\000\000\000' >corpus/dns_answer/no_name

# A chain, and the key behind a NUL; and both in one.
for folder in "$fixtures"/mtls-*/cf-instance-credentials; do
    name=$(basename "$(dirname "$folder")")
    (cat "$folder/instance.crt" && printf '\000' && cat "$folder/instance.key") >"corpus/pair/$name"
    cat "$folder/instance.key" "$folder/instance.crt" >"corpus/pair/$name-one"
done
for kind in rsa:2048 ec:prime256v1 ec:secp384r1 ed25519; do
    case $kind in ec:*) options="-newkey ec -pkeyopt ec_paramgen_curve:${kind#ec:}" ;; *) options="-newkey $kind" ;; esac
    new=corpus/pair/$(printf %s "$kind" | tr : -)
    # shellcheck disable=SC2086
    [ -e "$new" ] || openssl req -x509 $options -nodes -subj /CN=a -days 1 -keyout - -out - 2>/dev/null >"$new"
    # Of Ed25519 there is no older form.
    [ "$kind" = ed25519 ] || [ -e "$new-legacy" ] || (openssl x509 -in "$new" && printf '\000' && openssl pkey -in "$new" -traditional) >"$new-legacy"
done

# Of the HTTP cases those that are short. And what OpenSSL says by way of Python, behind the number of bytes that come first.
python3 - <<'PYTHON'
import base64
import json
import ssl

LONGEST = 4096


def sent(parts):
    parts = parts if isinstance(parts, list) else [parts]
    return b"".join(
        (part["text"].encode("latin-1") if "text" in part else base64.b64decode(part["base64"])) * part.get("times", 1)
        for part in parts
    )


def seed(target, number, head, bytes):
    if len(bytes) <= LONGEST:
        with open(f"corpus/{target}/case-{number}", "wb") as file:
            file.write(head + bytes)


def cases(file):
    with open(f"../tests/fixtures/http-cases/{file}.json") as text:
        return json.load(text)["cases"]


for number, case in enumerate(cases("requests-h1")):
    seed("request", number, b"\xfe", sent(case["send"]))
for number, case in enumerate(cases("answers-h1")):
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    seed("response", number, bytes([0, len(get)]) + get, sent(case["send"]))
    seed("api_response", number, b"\x00", sent(case["send"]))
preface = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
for number, case in enumerate(cases("requests-h2")):
    seed("frames", number, b"\x40", sent(case["send"])[preface:])

for name, versions, alpn in [
    ("tls13", (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3), ["h2", "http/1.1"]),
    ("tls12", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2), []),
]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version, context.maximum_version = versions
    if alpn:
        context.set_alpn_protocols(alpn)
    sent = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="a.example")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    wire = sent.read()
    with open("corpus/client_hello/" + name, "wb") as file:
        file.write(b"\x40" + wire)
    # The same in two records.
    body = wire[5:]
    parts = b"".join(wire[:3] + len(part).to_bytes(2, "big") + part for part in (body[:70], body[70:]))
    with open("corpus/client_hello/" + name + "-parts", "wb") as file:
        file.write(b"\x10" + parts)
PYTHON

# The file that has every key.
awk '/^```toml/ { inside = 1; next } /^```/ && inside { exit } inside' ../docs/configuration.md >corpus/config_file/all
sed 's/^#\([a-z]\)/\1/' corpus/config_file/all >corpus/config_file/all-set
