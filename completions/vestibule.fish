# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vestibule_global_optspecs
    string join \n h/help V/version
end

function __fish_vestibule_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_vestibule_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vestibule_using_subcommand
    set -l cmd (__fish_vestibule_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vestibule -n "__fish_vestibule_needs_command" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_needs_command" -s V -l version -d 'Print version'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "run" -d 'Start the app behind the proxy; the container\'s entrypoint'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "proxy" -d 'The proxy alone; something else starts the app'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "check" -d 'Read everything, open nothing; one line per finding; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "wait" -d 'Wait until a running proxy is ready; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "health" -d 'Ask a running proxy once whether it is ready; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "identity" -d 'What a certificate says'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "policy" -d 'Authorization rules on a dry run'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "token" -d 'Prove who this instance is, or check who another one is'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "issuer" -d 'A development CA that rotates instance credentials as Diego does'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "completions" -d 'Print the completions for bash, zsh or fish'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "envoy" -d 'What Diego starts; also when the program is called as `envoy`'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "demo" -d 'Issuer, small app and proxy on one machine, with commands to try'
complete -c vestibule -n "__fish_vestibule_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l listen -d 'Where clients dial us: a port, or ADDRESS:PORT [[::]:8443]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l app -d 'The app: a port, ADDRESS:PORT or unix:/PATH [$PORT, or 127.0.0.1:8080]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l listener -d 'Several listeners: 8443=8080,9443=9090' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l dial -d 'When the app is dialled: before-handshake, after-authorization [after-authorization where client certificates are asked for]' -r -f -a "before-handshake\t''
after-authorization\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l proxy-protocol -d 'Tell the app each client\'s address; v2: TLS and certificate too: off, v1, v2 [off]' -r -f -a "off\t''
v1\t''
v2\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l accept-proxy-protocol -d 'Load balancers whose connections begin with a PROXY header' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l app-ready -d 'When the app counts as accepting: tcp, http:/PATH or off [tcp]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l hold-until-ready -d 'Keep clients waiting this long for an app that starts [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l signal-scope -d 'Who gets signals: the app\'s process group, or the app alone: group, app [group]' -r -f -a "group\t''
app\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l signal-map -d 'Send the app other signals: TERM:QUIT,HUP:0' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l cert -d 'The certificate chain, PEM [$CF_INSTANCE_CERT, or /etc/cf-instance-credentials/instance.crt]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l key -d 'Its key, PEM: PKCS#1, PKCS#8 or SEC1 [$CF_INSTANCE_KEY, or /etc/cf-instance-credentials/instance.key]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l credential-timeout -d 'How long a start waits for a pair, CAs, CRLs and rules [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l alpn -d 'Protocols, best first: h2,http/1.1 [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l tls-min -d 'The oldest TLS version that is accepted: 1.2, 1.3 [1.2]' -r -f -a "1.2\t''
1.3\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l tls -d 'Whether clients speak TLS; off: HTTP in plaintext, behind the platform\'s own proxy: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l from -d 'Who may connect without TLS: self (this machine\'s own address), networks [self]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l client-auth -d 'Whether clients show a certificate: off, request, require [off, or require as soon as there is a rule]' -r -f -a "off\t''
request\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l client-ca -d 'CAs of clients: files, folders [$CF_SYSTEM_CERT_PATH]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l client-crl -d 'CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l allow -d 'Who may come in: cf:app:GUID, dns:NAME, any' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l deny -d 'Who may not, whatever is allowed' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l allow-app -d 'As --allow cf:app:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l allow-space -d 'As --allow cf:space:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l allow-org -d 'As --allow cf:org:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l policy -d 'More rules, in a TOML file: mode, allow, deny, routes' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l policy-mode -d 'Whether denials are enforced, or only logged: enforce, audit [as the policy file says, or enforce]' -r -f -a "enforce\t''
audit\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l mode -d 'What is done for clients: carry their bytes, or serve HTTP/1.1 and HTTP/2: tcp, http [tcp]' -r -f -a "tcp\t''
http\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l app-protocol -d 'What the app speaks: HTTP/1.1, or HTTP/2 without TLS: http1, h2c [http1]' -r -f -a "http1\t''
h2c\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l xfcc -d 'X-Forwarded-Client-Cert: whether the client\'s identity is set, and what clients forward passes: sanitize, sanitize-set, append-forward, forward-only, always-forward-only [sanitize-set]' -r -f -a "sanitize\t''
sanitize-set\t''
append-forward\t''
forward-only\t''
always-forward-only\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l xfcc-form -d 'How the client\'s identity is written: raw, envoy, rfc9440 [raw where our identity is Cloud Foundry\'s, else envoy]' -r -f -a "raw\t''
envoy\t''
rfc9440\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l xfcc-details -d 'What the form envoy has of it: by, hash, cert, chain, subject, uri, dns [hash,subject,uri,dns]' -r -f -a "by\t''
hash\t''
cert\t''
chain\t''
subject\t''
uri\t''
dns\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l xfcc-forward-from -d 'Clients that come in and may say who has called them, such as the platform\'s router' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l router-xfcc -d 'What those clients do with the X-Forwarded-Client-Cert that others send them: unknown, sanitize-set, forward [unknown]' -r -f -a "unknown\t''
sanitize-set\t''
forward\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l xfcc-absent -d 'Who calls where such a client forwards nobody: anonymous, client [anonymous]' -r -f -a "anonymous\t''
client\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l xfcc-verify -d 'Whether a forwarded identity has to be a certificate for which a client CA vouches: optional, require [optional]' -r -f -a "optional\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l sni-host -d 'Refuse requests whose Host is neither the name of the handshake nor one of the certificate: off, require [off]' -r -f -a "off\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l path-ambiguous -d 'Where there are routes: paths that apps read differently, such as /a%2fb: reject, judge-raw [reject]' -r -f -a "reject\t''
judge-raw\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l path-changed -d 'Where there are routes: paths that are not written as they are judged, such as /a//b: reject, forward-folded [reject]' -r -f -a "reject\t''
forward-folded\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l health-path -d 'A path that callers without identity may GET, and nothing else: /health' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forwarded-for -d 'The client\'s address in X-Forwarded-For: behind what came, alone, or not at all: append, set, pass [append]' -r -f -a "append\t''
set\t''
pass\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forwarded -d 'Write Forwarded (RFC 7239) too: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l via -d 'Name the proxy in Via' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l upgrade -d 'Protocols that a connection may become: names, any or off [websocket]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l upgrade-drain -d 'While the instance goes: WebSockets stay until the drain is over, or their clients are told (1001): leave, close [leave]' -r -f -a "leave\t''
close\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l http-max-head -d 'The longest head of a request [64K]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l http-max-body -d 'The longest body of a request [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l http-head-timeout -d 'For the head of a request, from its first byte on [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l http-body-timeout -d 'How long the body of a request may be silent [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l h2-window-timeout -d 'How long an HTTP/2 client may leave no room for an answer [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l app-timeout -d 'For the app to begin its answer [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l app-idle-timeout -d 'Close a connection to the app on which nothing was asked for this long [4s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l max-requests -d 'Requests on one HTTP/1.1 connection [without end]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound -d 'The app dials LISTEN, we TO by mTLS: 9000=HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-expect -d 'Who may answer: cf:app:GUID, cf:same:space, dns:NAME' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-ca -d 'CAs of servers: own-issuer, system, files, folders [own-issuer where a cf: rule is expected, else $CF_SYSTEM_CERT_PATH and system]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-server-name -d 'The name in SNI, which the server\'s certificate must have, or off [the host that is dialled]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-identity -d 'Whether servers are shown our certificate: always, never [always]' -r -f -a "always\t''
never\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-balance -d 'Which of several endpoints is dialled: least-connections, round-robin, first [least-connections]' -r -f -a "least-connections\t''
round-robin\t''
first\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-protocol -d 'What the app speaks: anything (tcp), or HTTP/1.1, balanced by requests (http1): tcp, http1 [tcp]' -r -f -a "tcp\t''
http1\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-attempts -d 'Endpoints that are tried for one connection [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-eject -d 'Failures in a row after which an endpoint is left alone for a while, or off [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-eject-on -d 'What counts as a failure: connections that fail, or answers of 500 and above too (http1): connect, 5xx [connect]' -r -f -a "connect\t''
5xx\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-connect-timeout -d 'For one endpoint to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-handshake-timeout -d 'For the handshake with one endpoint [3s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-timeout -d 'For the lookup and all attempts together [5s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-idle-timeout -d 'Close a connection that is silent both ways for this long [off; 15s with http1]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-max-age -d 'Let go of a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-refresh -d 'Look the name up again at the latest after this, whatever its TTL [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-max-connections -d 'Connections, or requests with http1, at a time of each outbound listener [1024]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-max-pending -d 'Connections at a time that wait for an endpoint [256]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-proxy -d 'Dial by way of an HTTP proxy, with CONNECT: http://USER:PASSWORD@HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-no-proxy -d 'Who is dialled without the proxy: a name, .DOMAIN, an address, a network' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy -d 'HTTP proxy that speaks mTLS for the app: on [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy-to -d 'Servers with which the app speaks as this instance: *.DOMAIN:PORT, NETWORK:PORT, with =RULE or not' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy-unlisted -d 'Refuse requests for others, or pass them on without our certificate: refuse, tunnel [refuse]' -r -f -a "refuse\t''
tunnel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy-tls-tunnel -d 'Whether the app may speak TLS by itself with listed servers, which then see no certificate: allow, refuse [allow]' -r -f -a "allow\t''
refuse\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy-map -d 'Dial a server at another port than the app names' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy-announce -d 'Tell the app by CF_INSTANCE_MTLS_PROXY (cf), by HTTP_PROXY and the like too (env), or not at all (off): cf, env, off [cf]' -r -f -a "cf\t''
env\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy-secret -d 'Have the app show a password, which is in the announced URL: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l forward-proxy-allow-address -d 'Addresses that are dialled though they are this machine\'s own, or of its link' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l identity-file -d 'Keep a fresh token (JWT) for this audience in this file' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l credential-file -d 'Keep a part of the pair in this file: pkcs8 (key), pem (key and chain), chain, ca' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l file-mode -d 'Who may read tokens and keys in these files; chain and ca are 0644 [0600]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l on-rotation -d 'After a rotation, signal the app (signal:HUP) or run a program (exec:PROGRAM ARG)' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l identity-listen -d 'Where the app asks for tokens: unix:/PATH [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l identity-audience -d 'For whom tokens may be asked' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l identity-ttl -d 'How long a token lives, at most and where the app does not say, 10s to 1h [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l identity-peer-uid -d 'Users who may ask by the socket file [our own, which is the app\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l identity-rate -d 'Signatures a second; five times as many at once [10/s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l identity-token-file -d 'Over TCP: where the bearer token is written that requests show [in a folder of ours]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l token-ca -d 'Verify tokens too (POST /verify): CAs, files and folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l token-crl -d 'Their CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l token-roles -d 'Which policies whom is granted, in a TOML file' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l token-max-ttl -d 'Refuse tokens that live longer than this [1h]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l token-skew -d 'How far clocks may be apart, at most 5m [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l resolve -d 'Whose references in the app\'s variables and service bindings are resolved before it starts: credhub, vault, transit, file' -r -f -a "credhub\t''
vault\t''
transit\t''
file\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l resolve-timeout -d 'For all references together; then the app is not started [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l credhub-url -d 'Where CredHub is: https://HOST:PORT [$CREDHUB_URL, or VCAP_PLATFORM_OPTIONS before both]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l credhub-ca -d 'CAs of CredHub: a file or a folder [$CF_SYSTEM_CERT_PATH and the system\'s]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l credhub-timeout -d 'For one question to CredHub, with all its tries [20s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l credhub-database-url -d 'Set DATABASE_URL from the first database that CredHub has resolved, if the app has none: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l secrets-dir -d 'Where the folder is made for secrets that the app gets as files [the first of /dev/shm and /run that is in memory]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-addr -d 'Where Vault or OpenBao is: https://HOST:PORT; http:// on loopback only [$VAULT_ADDR]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-role -d 'The role that is asked for; needed but for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-method -d 'How to log in: HashiCorp\'s CF plugin, the pair in mutual TLS, a JWT, or Comcast\'s plugin: cf, cert, jwt, comcast [cf]' -r -f -a "cf\t''
cert\t''
jwt\t''
comcast\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-mount -d 'Where the method is mounted [cf, cert, jwt or cloudfoundry, by the method]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-namespace -d 'The namespace in which everything is [$VAULT_NAMESPACE]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-ca -d 'CAs that vouch for the server [$VAULT_CACERT, or $CF_SYSTEM_CERT_PATH and system]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-audience -d 'For whom the token of the methods jwt and comcast is' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-policy -d 'A policy to be asked for, for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l vault-wrap-ttl -d 'Have the login wrapped on its way to us, for this time at most' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l secret-signal -d 'What the app gets once its files hold a new secret' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l secret-on-expiry -d 'When a secret in the app\'s variables is about to end: warn, or stop with status 69: warn, stop [warn]' -r -f -a "warn\t''
stop\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l handshake-timeout -d 'From accept to the end of the handshake [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l connect-timeout -d 'For the app to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l idle-timeout -d 'Close a connection that is silent both ways for this long [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l max-age -d 'Close a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l max-connections -d 'Connections at a time [from the descriptor and memory limits]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l max-handshakes -d 'Unfinished handshakes at a time [as many as connections]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l memory-limit -d 'Memory of the proxy and the app together [the control group\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l threads -d 'Worker threads [the CPU quota, at most 2; 1 without]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l sandbox -d 'Fence in the proxy, never the app: Landlock, seccomp, no_new_privs: off, best-effort, strict [off]' -r -f -a "off\t''
best-effort\t''
strict\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l drain-delay -d 'After TERM, go on accepting for this long first [0s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l drain-timeout -d 'From TERM to the end, at most [8s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l drain-http -d 'Say Connection: close in HTTP/1.1 answers while draining: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l admin -d 'Admin listener: a port, ADDR:PORT, unix:/PATH, off [127.0.0.1:9901]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l metrics -d 'Metrics and probes alone, for scrapers: a port, ADDRESS:PORT or off [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l admin-actions -d 'What --admin may be asked to do, by POST: drain, reload, loglevel' -r -f -a "drain\t''
reload\t''
loglevel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l admin-host -d 'Host names, beside localhost, that --admin answers to' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l log-format -d 'How lines on stderr look: json, text, lager [text on a terminal, else json]' -r -f -a "json\t''
text\t''
lager\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l log-level -d 'The least severe level that is written: off, error, warn, info, debug, trace [info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l access-log -d 'Which connections and requests leave a line: off, denied, all [denied]' -r -f -a "off\t''
denied\t''
all\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l hide-app-port -d 'Give the app another PORT than the one that others know'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l hide-key -d 'Do not tell the app where the key is'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l unsafe-from -d 'Let --from name every address, so that everybody may say who calls'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l caller-headers -d 'Tell the app who calls in X-Vestibule-App, -Space, -Org, -Instance and -Subject-Kind'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-preserve-host -d 'With http1: keep the Host that the app writes'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l outbound-required -d 'Not ready while no endpoint is known'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l unsafe-listen -d 'Let outbound listeners be reached by other hosts, which then speak as this app'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand run" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l listen -d 'Where clients dial us: a port, or ADDRESS:PORT [[::]:8443]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l app -d 'The app: a port, ADDRESS:PORT or unix:/PATH [$PORT, or 127.0.0.1:8080]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l listener -d 'Several listeners: 8443=8080,9443=9090' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l dial -d 'When the app is dialled: before-handshake, after-authorization [after-authorization where client certificates are asked for]' -r -f -a "before-handshake\t''
after-authorization\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l proxy-protocol -d 'Tell the app each client\'s address; v2: TLS and certificate too: off, v1, v2 [off]' -r -f -a "off\t''
v1\t''
v2\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l accept-proxy-protocol -d 'Load balancers whose connections begin with a PROXY header' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l app-ready -d 'When the app counts as accepting: tcp, http:/PATH or off [tcp]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l hold-until-ready -d 'Keep clients waiting this long for an app that starts [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l cert -d 'The certificate chain, PEM [$CF_INSTANCE_CERT, or /etc/cf-instance-credentials/instance.crt]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l key -d 'Its key, PEM: PKCS#1, PKCS#8 or SEC1 [$CF_INSTANCE_KEY, or /etc/cf-instance-credentials/instance.key]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l credential-timeout -d 'How long a start waits for a pair, CAs, CRLs and rules [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l alpn -d 'Protocols, best first: h2,http/1.1 [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l tls-min -d 'The oldest TLS version that is accepted: 1.2, 1.3 [1.2]' -r -f -a "1.2\t''
1.3\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l tls -d 'Whether clients speak TLS; off: HTTP in plaintext, behind the platform\'s own proxy: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l from -d 'Who may connect without TLS: self (this machine\'s own address), networks [self]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l client-auth -d 'Whether clients show a certificate: off, request, require [off, or require as soon as there is a rule]' -r -f -a "off\t''
request\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l client-ca -d 'CAs of clients: files, folders [$CF_SYSTEM_CERT_PATH]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l client-crl -d 'CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l allow -d 'Who may come in: cf:app:GUID, dns:NAME, any' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l deny -d 'Who may not, whatever is allowed' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l allow-app -d 'As --allow cf:app:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l allow-space -d 'As --allow cf:space:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l allow-org -d 'As --allow cf:org:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l policy -d 'More rules, in a TOML file: mode, allow, deny, routes' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l policy-mode -d 'Whether denials are enforced, or only logged: enforce, audit [as the policy file says, or enforce]' -r -f -a "enforce\t''
audit\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l mode -d 'What is done for clients: carry their bytes, or serve HTTP/1.1 and HTTP/2: tcp, http [tcp]' -r -f -a "tcp\t''
http\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l app-protocol -d 'What the app speaks: HTTP/1.1, or HTTP/2 without TLS: http1, h2c [http1]' -r -f -a "http1\t''
h2c\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l xfcc -d 'X-Forwarded-Client-Cert: whether the client\'s identity is set, and what clients forward passes: sanitize, sanitize-set, append-forward, forward-only, always-forward-only [sanitize-set]' -r -f -a "sanitize\t''
sanitize-set\t''
append-forward\t''
forward-only\t''
always-forward-only\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l xfcc-form -d 'How the client\'s identity is written: raw, envoy, rfc9440 [raw where our identity is Cloud Foundry\'s, else envoy]' -r -f -a "raw\t''
envoy\t''
rfc9440\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l xfcc-details -d 'What the form envoy has of it: by, hash, cert, chain, subject, uri, dns [hash,subject,uri,dns]' -r -f -a "by\t''
hash\t''
cert\t''
chain\t''
subject\t''
uri\t''
dns\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l xfcc-forward-from -d 'Clients that come in and may say who has called them, such as the platform\'s router' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l router-xfcc -d 'What those clients do with the X-Forwarded-Client-Cert that others send them: unknown, sanitize-set, forward [unknown]' -r -f -a "unknown\t''
sanitize-set\t''
forward\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l xfcc-absent -d 'Who calls where such a client forwards nobody: anonymous, client [anonymous]' -r -f -a "anonymous\t''
client\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l xfcc-verify -d 'Whether a forwarded identity has to be a certificate for which a client CA vouches: optional, require [optional]' -r -f -a "optional\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l sni-host -d 'Refuse requests whose Host is neither the name of the handshake nor one of the certificate: off, require [off]' -r -f -a "off\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l path-ambiguous -d 'Where there are routes: paths that apps read differently, such as /a%2fb: reject, judge-raw [reject]' -r -f -a "reject\t''
judge-raw\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l path-changed -d 'Where there are routes: paths that are not written as they are judged, such as /a//b: reject, forward-folded [reject]' -r -f -a "reject\t''
forward-folded\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l health-path -d 'A path that callers without identity may GET, and nothing else: /health' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forwarded-for -d 'The client\'s address in X-Forwarded-For: behind what came, alone, or not at all: append, set, pass [append]' -r -f -a "append\t''
set\t''
pass\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forwarded -d 'Write Forwarded (RFC 7239) too: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l via -d 'Name the proxy in Via' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l upgrade -d 'Protocols that a connection may become: names, any or off [websocket]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l upgrade-drain -d 'While the instance goes: WebSockets stay until the drain is over, or their clients are told (1001): leave, close [leave]' -r -f -a "leave\t''
close\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l http-max-head -d 'The longest head of a request [64K]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l http-max-body -d 'The longest body of a request [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l http-head-timeout -d 'For the head of a request, from its first byte on [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l http-body-timeout -d 'How long the body of a request may be silent [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l h2-window-timeout -d 'How long an HTTP/2 client may leave no room for an answer [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l app-timeout -d 'For the app to begin its answer [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l app-idle-timeout -d 'Close a connection to the app on which nothing was asked for this long [4s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l max-requests -d 'Requests on one HTTP/1.1 connection [without end]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound -d 'The app dials LISTEN, we TO by mTLS: 9000=HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-expect -d 'Who may answer: cf:app:GUID, cf:same:space, dns:NAME' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-ca -d 'CAs of servers: own-issuer, system, files, folders [own-issuer where a cf: rule is expected, else $CF_SYSTEM_CERT_PATH and system]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-server-name -d 'The name in SNI, which the server\'s certificate must have, or off [the host that is dialled]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-identity -d 'Whether servers are shown our certificate: always, never [always]' -r -f -a "always\t''
never\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-balance -d 'Which of several endpoints is dialled: least-connections, round-robin, first [least-connections]' -r -f -a "least-connections\t''
round-robin\t''
first\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-protocol -d 'What the app speaks: anything (tcp), or HTTP/1.1, balanced by requests (http1): tcp, http1 [tcp]' -r -f -a "tcp\t''
http1\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-attempts -d 'Endpoints that are tried for one connection [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-eject -d 'Failures in a row after which an endpoint is left alone for a while, or off [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-eject-on -d 'What counts as a failure: connections that fail, or answers of 500 and above too (http1): connect, 5xx [connect]' -r -f -a "connect\t''
5xx\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-connect-timeout -d 'For one endpoint to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-handshake-timeout -d 'For the handshake with one endpoint [3s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-timeout -d 'For the lookup and all attempts together [5s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-idle-timeout -d 'Close a connection that is silent both ways for this long [off; 15s with http1]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-max-age -d 'Let go of a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-refresh -d 'Look the name up again at the latest after this, whatever its TTL [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-max-connections -d 'Connections, or requests with http1, at a time of each outbound listener [1024]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-max-pending -d 'Connections at a time that wait for an endpoint [256]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-proxy -d 'Dial by way of an HTTP proxy, with CONNECT: http://USER:PASSWORD@HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-no-proxy -d 'Who is dialled without the proxy: a name, .DOMAIN, an address, a network' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forward-proxy -d 'HTTP proxy that speaks mTLS for the app: on [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forward-proxy-to -d 'Servers with which the app speaks as this instance: *.DOMAIN:PORT, NETWORK:PORT, with =RULE or not' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forward-proxy-unlisted -d 'Refuse requests for others, or pass them on without our certificate: refuse, tunnel [refuse]' -r -f -a "refuse\t''
tunnel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forward-proxy-tls-tunnel -d 'Whether the app may speak TLS by itself with listed servers, which then see no certificate: allow, refuse [allow]' -r -f -a "allow\t''
refuse\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forward-proxy-map -d 'Dial a server at another port than the app names' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forward-proxy-secret -d 'Have the app show a password, which is in the announced URL: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l forward-proxy-allow-address -d 'Addresses that are dialled though they are this machine\'s own, or of its link' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l identity-file -d 'Keep a fresh token (JWT) for this audience in this file' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l credential-file -d 'Keep a part of the pair in this file: pkcs8 (key), pem (key and chain), chain, ca' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l file-mode -d 'Who may read tokens and keys in these files; chain and ca are 0644 [0600]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l on-rotation -d 'After a rotation, signal the app (signal:HUP) or run a program (exec:PROGRAM ARG)' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l identity-listen -d 'Where the app asks for tokens: unix:/PATH [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l identity-audience -d 'For whom tokens may be asked' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l identity-ttl -d 'How long a token lives, at most and where the app does not say, 10s to 1h [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l identity-peer-uid -d 'Users who may ask by the socket file [our own, which is the app\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l identity-rate -d 'Signatures a second; five times as many at once [10/s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l identity-token-file -d 'Over TCP: where the bearer token is written that requests show [in a folder of ours]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l token-ca -d 'Verify tokens too (POST /verify): CAs, files and folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l token-crl -d 'Their CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l token-roles -d 'Which policies whom is granted, in a TOML file' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l token-max-ttl -d 'Refuse tokens that live longer than this [1h]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l token-skew -d 'How far clocks may be apart, at most 5m [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l handshake-timeout -d 'From accept to the end of the handshake [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l connect-timeout -d 'For the app to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l idle-timeout -d 'Close a connection that is silent both ways for this long [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l max-age -d 'Close a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l max-connections -d 'Connections at a time [from the descriptor and memory limits]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l max-handshakes -d 'Unfinished handshakes at a time [as many as connections]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l memory-limit -d 'Memory of the proxy and the app together [the control group\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l threads -d 'Worker threads [the CPU quota, at most 2; 1 without]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l sandbox -d 'Fence in the proxy, never the app: Landlock, seccomp, no_new_privs: off, best-effort, strict [off]' -r -f -a "off\t''
best-effort\t''
strict\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l drain-delay -d 'After TERM, go on accepting for this long first [0s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l drain-timeout -d 'From TERM to the end, at most [8s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l drain-http -d 'Say Connection: close in HTTP/1.1 answers while draining: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l admin -d 'Admin listener: a port, ADDR:PORT, unix:/PATH, off [127.0.0.1:9901]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l metrics -d 'Metrics and probes alone, for scrapers: a port, ADDRESS:PORT or off [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l admin-actions -d 'What --admin may be asked to do, by POST: drain, reload, loglevel' -r -f -a "drain\t''
reload\t''
loglevel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l admin-host -d 'Host names, beside localhost, that --admin answers to' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l log-format -d 'How lines on stderr look: json, text, lager [text on a terminal, else json]' -r -f -a "json\t''
text\t''
lager\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l log-level -d 'The least severe level that is written: off, error, warn, info, debug, trace [info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l access-log -d 'Which connections and requests leave a line: off, denied, all [denied]' -r -f -a "off\t''
denied\t''
all\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l unsafe-from -d 'Let --from name every address, so that everybody may say who calls'
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l caller-headers -d 'Tell the app who calls in X-Vestibule-App, -Space, -Org, -Instance and -Subject-Kind'
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-preserve-host -d 'With http1: keep the Host that the app writes'
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l outbound-required -d 'Not ready while no endpoint is known'
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l unsafe-listen -d 'Let outbound listeners be reached by other hosts, which then speak as this app'
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand proxy" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l listen -d 'Where clients dial us: a port, or ADDRESS:PORT [[::]:8443]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l app -d 'The app: a port, ADDRESS:PORT or unix:/PATH [$PORT, or 127.0.0.1:8080]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l listener -d 'Several listeners: 8443=8080,9443=9090' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l dial -d 'When the app is dialled: before-handshake, after-authorization [after-authorization where client certificates are asked for]' -r -f -a "before-handshake\t''
after-authorization\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l proxy-protocol -d 'Tell the app each client\'s address; v2: TLS and certificate too: off, v1, v2 [off]' -r -f -a "off\t''
v1\t''
v2\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l accept-proxy-protocol -d 'Load balancers whose connections begin with a PROXY header' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l app-ready -d 'When the app counts as accepting: tcp, http:/PATH or off [tcp]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l hold-until-ready -d 'Keep clients waiting this long for an app that starts [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l signal-scope -d 'Who gets signals: the app\'s process group, or the app alone: group, app [group]' -r -f -a "group\t''
app\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l signal-map -d 'Send the app other signals: TERM:QUIT,HUP:0' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l cert -d 'The certificate chain, PEM [$CF_INSTANCE_CERT, or /etc/cf-instance-credentials/instance.crt]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l key -d 'Its key, PEM: PKCS#1, PKCS#8 or SEC1 [$CF_INSTANCE_KEY, or /etc/cf-instance-credentials/instance.key]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l credential-timeout -d 'How long a start waits for a pair, CAs, CRLs and rules [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l alpn -d 'Protocols, best first: h2,http/1.1 [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l tls-min -d 'The oldest TLS version that is accepted: 1.2, 1.3 [1.2]' -r -f -a "1.2\t''
1.3\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l tls -d 'Whether clients speak TLS; off: HTTP in plaintext, behind the platform\'s own proxy: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l from -d 'Who may connect without TLS: self (this machine\'s own address), networks [self]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l client-auth -d 'Whether clients show a certificate: off, request, require [off, or require as soon as there is a rule]' -r -f -a "off\t''
request\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l client-ca -d 'CAs of clients: files, folders [$CF_SYSTEM_CERT_PATH]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l client-crl -d 'CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l allow -d 'Who may come in: cf:app:GUID, dns:NAME, any' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l deny -d 'Who may not, whatever is allowed' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l allow-app -d 'As --allow cf:app:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l allow-space -d 'As --allow cf:space:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l allow-org -d 'As --allow cf:org:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l policy -d 'More rules, in a TOML file: mode, allow, deny, routes' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l policy-mode -d 'Whether denials are enforced, or only logged: enforce, audit [as the policy file says, or enforce]' -r -f -a "enforce\t''
audit\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l mode -d 'What is done for clients: carry their bytes, or serve HTTP/1.1 and HTTP/2: tcp, http [tcp]' -r -f -a "tcp\t''
http\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l app-protocol -d 'What the app speaks: HTTP/1.1, or HTTP/2 without TLS: http1, h2c [http1]' -r -f -a "http1\t''
h2c\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l xfcc -d 'X-Forwarded-Client-Cert: whether the client\'s identity is set, and what clients forward passes: sanitize, sanitize-set, append-forward, forward-only, always-forward-only [sanitize-set]' -r -f -a "sanitize\t''
sanitize-set\t''
append-forward\t''
forward-only\t''
always-forward-only\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l xfcc-form -d 'How the client\'s identity is written: raw, envoy, rfc9440 [raw where our identity is Cloud Foundry\'s, else envoy]' -r -f -a "raw\t''
envoy\t''
rfc9440\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l xfcc-details -d 'What the form envoy has of it: by, hash, cert, chain, subject, uri, dns [hash,subject,uri,dns]' -r -f -a "by\t''
hash\t''
cert\t''
chain\t''
subject\t''
uri\t''
dns\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l xfcc-forward-from -d 'Clients that come in and may say who has called them, such as the platform\'s router' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l router-xfcc -d 'What those clients do with the X-Forwarded-Client-Cert that others send them: unknown, sanitize-set, forward [unknown]' -r -f -a "unknown\t''
sanitize-set\t''
forward\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l xfcc-absent -d 'Who calls where such a client forwards nobody: anonymous, client [anonymous]' -r -f -a "anonymous\t''
client\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l xfcc-verify -d 'Whether a forwarded identity has to be a certificate for which a client CA vouches: optional, require [optional]' -r -f -a "optional\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l sni-host -d 'Refuse requests whose Host is neither the name of the handshake nor one of the certificate: off, require [off]' -r -f -a "off\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l path-ambiguous -d 'Where there are routes: paths that apps read differently, such as /a%2fb: reject, judge-raw [reject]' -r -f -a "reject\t''
judge-raw\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l path-changed -d 'Where there are routes: paths that are not written as they are judged, such as /a//b: reject, forward-folded [reject]' -r -f -a "reject\t''
forward-folded\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l health-path -d 'A path that callers without identity may GET, and nothing else: /health' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forwarded-for -d 'The client\'s address in X-Forwarded-For: behind what came, alone, or not at all: append, set, pass [append]' -r -f -a "append\t''
set\t''
pass\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forwarded -d 'Write Forwarded (RFC 7239) too: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l via -d 'Name the proxy in Via' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l upgrade -d 'Protocols that a connection may become: names, any or off [websocket]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l upgrade-drain -d 'While the instance goes: WebSockets stay until the drain is over, or their clients are told (1001): leave, close [leave]' -r -f -a "leave\t''
close\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l http-max-head -d 'The longest head of a request [64K]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l http-max-body -d 'The longest body of a request [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l http-head-timeout -d 'For the head of a request, from its first byte on [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l http-body-timeout -d 'How long the body of a request may be silent [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l h2-window-timeout -d 'How long an HTTP/2 client may leave no room for an answer [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l app-timeout -d 'For the app to begin its answer [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l app-idle-timeout -d 'Close a connection to the app on which nothing was asked for this long [4s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l max-requests -d 'Requests on one HTTP/1.1 connection [without end]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound -d 'The app dials LISTEN, we TO by mTLS: 9000=HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-expect -d 'Who may answer: cf:app:GUID, cf:same:space, dns:NAME' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-ca -d 'CAs of servers: own-issuer, system, files, folders [own-issuer where a cf: rule is expected, else $CF_SYSTEM_CERT_PATH and system]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-server-name -d 'The name in SNI, which the server\'s certificate must have, or off [the host that is dialled]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-identity -d 'Whether servers are shown our certificate: always, never [always]' -r -f -a "always\t''
never\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-balance -d 'Which of several endpoints is dialled: least-connections, round-robin, first [least-connections]' -r -f -a "least-connections\t''
round-robin\t''
first\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-protocol -d 'What the app speaks: anything (tcp), or HTTP/1.1, balanced by requests (http1): tcp, http1 [tcp]' -r -f -a "tcp\t''
http1\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-attempts -d 'Endpoints that are tried for one connection [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-eject -d 'Failures in a row after which an endpoint is left alone for a while, or off [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-eject-on -d 'What counts as a failure: connections that fail, or answers of 500 and above too (http1): connect, 5xx [connect]' -r -f -a "connect\t''
5xx\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-connect-timeout -d 'For one endpoint to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-handshake-timeout -d 'For the handshake with one endpoint [3s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-timeout -d 'For the lookup and all attempts together [5s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-idle-timeout -d 'Close a connection that is silent both ways for this long [off; 15s with http1]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-max-age -d 'Let go of a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-refresh -d 'Look the name up again at the latest after this, whatever its TTL [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-max-connections -d 'Connections, or requests with http1, at a time of each outbound listener [1024]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-max-pending -d 'Connections at a time that wait for an endpoint [256]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-proxy -d 'Dial by way of an HTTP proxy, with CONNECT: http://USER:PASSWORD@HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-no-proxy -d 'Who is dialled without the proxy: a name, .DOMAIN, an address, a network' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy -d 'HTTP proxy that speaks mTLS for the app: on [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy-to -d 'Servers with which the app speaks as this instance: *.DOMAIN:PORT, NETWORK:PORT, with =RULE or not' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy-unlisted -d 'Refuse requests for others, or pass them on without our certificate: refuse, tunnel [refuse]' -r -f -a "refuse\t''
tunnel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy-tls-tunnel -d 'Whether the app may speak TLS by itself with listed servers, which then see no certificate: allow, refuse [allow]' -r -f -a "allow\t''
refuse\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy-map -d 'Dial a server at another port than the app names' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy-announce -d 'Tell the app by CF_INSTANCE_MTLS_PROXY (cf), by HTTP_PROXY and the like too (env), or not at all (off): cf, env, off [cf]' -r -f -a "cf\t''
env\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy-secret -d 'Have the app show a password, which is in the announced URL: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l forward-proxy-allow-address -d 'Addresses that are dialled though they are this machine\'s own, or of its link' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l identity-file -d 'Keep a fresh token (JWT) for this audience in this file' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l credential-file -d 'Keep a part of the pair in this file: pkcs8 (key), pem (key and chain), chain, ca' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l file-mode -d 'Who may read tokens and keys in these files; chain and ca are 0644 [0600]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l on-rotation -d 'After a rotation, signal the app (signal:HUP) or run a program (exec:PROGRAM ARG)' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l identity-listen -d 'Where the app asks for tokens: unix:/PATH [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l identity-audience -d 'For whom tokens may be asked' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l identity-ttl -d 'How long a token lives, at most and where the app does not say, 10s to 1h [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l identity-peer-uid -d 'Users who may ask by the socket file [our own, which is the app\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l identity-rate -d 'Signatures a second; five times as many at once [10/s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l identity-token-file -d 'Over TCP: where the bearer token is written that requests show [in a folder of ours]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l token-ca -d 'Verify tokens too (POST /verify): CAs, files and folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l token-crl -d 'Their CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l token-roles -d 'Which policies whom is granted, in a TOML file' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l token-max-ttl -d 'Refuse tokens that live longer than this [1h]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l token-skew -d 'How far clocks may be apart, at most 5m [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l resolve -d 'Whose references in the app\'s variables and service bindings are resolved before it starts: credhub, vault, transit, file' -r -f -a "credhub\t''
vault\t''
transit\t''
file\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l resolve-timeout -d 'For all references together; then the app is not started [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l credhub-url -d 'Where CredHub is: https://HOST:PORT [$CREDHUB_URL, or VCAP_PLATFORM_OPTIONS before both]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l credhub-ca -d 'CAs of CredHub: a file or a folder [$CF_SYSTEM_CERT_PATH and the system\'s]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l credhub-timeout -d 'For one question to CredHub, with all its tries [20s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l credhub-database-url -d 'Set DATABASE_URL from the first database that CredHub has resolved, if the app has none: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l secrets-dir -d 'Where the folder is made for secrets that the app gets as files [the first of /dev/shm and /run that is in memory]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-addr -d 'Where Vault or OpenBao is: https://HOST:PORT; http:// on loopback only [$VAULT_ADDR]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-role -d 'The role that is asked for; needed but for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-method -d 'How to log in: HashiCorp\'s CF plugin, the pair in mutual TLS, a JWT, or Comcast\'s plugin: cf, cert, jwt, comcast [cf]' -r -f -a "cf\t''
cert\t''
jwt\t''
comcast\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-mount -d 'Where the method is mounted [cf, cert, jwt or cloudfoundry, by the method]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-namespace -d 'The namespace in which everything is [$VAULT_NAMESPACE]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-ca -d 'CAs that vouch for the server [$VAULT_CACERT, or $CF_SYSTEM_CERT_PATH and system]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-audience -d 'For whom the token of the methods jwt and comcast is' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-policy -d 'A policy to be asked for, for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l vault-wrap-ttl -d 'Have the login wrapped on its way to us, for this time at most' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l secret-signal -d 'What the app gets once its files hold a new secret' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l secret-on-expiry -d 'When a secret in the app\'s variables is about to end: warn, or stop with status 69: warn, stop [warn]' -r -f -a "warn\t''
stop\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l handshake-timeout -d 'From accept to the end of the handshake [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l connect-timeout -d 'For the app to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l idle-timeout -d 'Close a connection that is silent both ways for this long [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l max-age -d 'Close a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l max-connections -d 'Connections at a time [from the descriptor and memory limits]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l max-handshakes -d 'Unfinished handshakes at a time [as many as connections]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l memory-limit -d 'Memory of the proxy and the app together [the control group\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l threads -d 'Worker threads [the CPU quota, at most 2; 1 without]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l sandbox -d 'Fence in the proxy, never the app: Landlock, seccomp, no_new_privs: off, best-effort, strict [off]' -r -f -a "off\t''
best-effort\t''
strict\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l drain-delay -d 'After TERM, go on accepting for this long first [0s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l drain-timeout -d 'From TERM to the end, at most [8s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l drain-http -d 'Say Connection: close in HTTP/1.1 answers while draining: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l admin -d 'Admin listener: a port, ADDR:PORT, unix:/PATH, off [127.0.0.1:9901]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l metrics -d 'Metrics and probes alone, for scrapers: a port, ADDRESS:PORT or off [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l admin-actions -d 'What --admin may be asked to do, by POST: drain, reload, loglevel' -r -f -a "drain\t''
reload\t''
loglevel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l admin-host -d 'Host names, beside localhost, that --admin answers to' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l log-format -d 'How lines on stderr look: json, text, lager [text on a terminal, else json]' -r -f -a "json\t''
text\t''
lager\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l log-level -d 'The least severe level that is written: off, error, warn, info, debug, trace [info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l access-log -d 'Which connections and requests leave a line: off, denied, all [denied]' -r -f -a "off\t''
denied\t''
all\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l route -d 'Call the app by this route, and say whether its router lets clients forge who calls' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l route-ca -d 'With --route: who vouches for whoever is there [$CF_SYSTEM_CERT_PATH and system]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l hide-app-port -d 'Give the app another PORT than the one that others know'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l hide-key -d 'Do not tell the app where the key is'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l unsafe-from -d 'Let --from name every address, so that everybody may say who calls'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l caller-headers -d 'Tell the app who calls in X-Vestibule-App, -Space, -Org, -Instance and -Subject-Kind'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-preserve-host -d 'With http1: keep the Host that the app writes'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l outbound-required -d 'Not ready while no endpoint is known'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l unsafe-listen -d 'Let outbound listeners be reached by other hosts, which then speak as this app'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l connect -d 'Shake hands with those whom the app dials by --outbound, and resolve its secrets'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l json -d 'Print JSON'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand check" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand wait" -l admin -d 'Admin listener: a port, ADDR:PORT, unix:/PATH, off [127.0.0.1:9901]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand wait" -l timeout -d 'How long to wait [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand wait" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand wait" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand health" -l admin -d 'Admin listener: a port, ADDR:PORT, unix:/PATH, off [127.0.0.1:9901]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand health" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand health" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand identity" -l json -d 'Print JSON'
complete -c vestibule -n "__fish_vestibule_using_subcommand identity" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and not __fish_seen_subcommand_from test help" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and not __fish_seen_subcommand_from test help" -f -a "test" -d 'The verdict on a certificate, and the rule that decided; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and not __fish_seen_subcommand_from test help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l listen -d 'Where clients dial us: a port, or ADDRESS:PORT [[::]:8443]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l app -d 'The app: a port, ADDRESS:PORT or unix:/PATH [$PORT, or 127.0.0.1:8080]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l listener -d 'Several listeners: 8443=8080,9443=9090' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l dial -d 'When the app is dialled: before-handshake, after-authorization [after-authorization where client certificates are asked for]' -r -f -a "before-handshake\t''
after-authorization\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l proxy-protocol -d 'Tell the app each client\'s address; v2: TLS and certificate too: off, v1, v2 [off]' -r -f -a "off\t''
v1\t''
v2\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l accept-proxy-protocol -d 'Load balancers whose connections begin with a PROXY header' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l app-ready -d 'When the app counts as accepting: tcp, http:/PATH or off [tcp]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l hold-until-ready -d 'Keep clients waiting this long for an app that starts [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l signal-scope -d 'Who gets signals: the app\'s process group, or the app alone: group, app [group]' -r -f -a "group\t''
app\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l signal-map -d 'Send the app other signals: TERM:QUIT,HUP:0' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l cert -d 'The certificate chain, PEM [$CF_INSTANCE_CERT, or /etc/cf-instance-credentials/instance.crt]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l key -d 'Its key, PEM: PKCS#1, PKCS#8 or SEC1 [$CF_INSTANCE_KEY, or /etc/cf-instance-credentials/instance.key]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l credential-timeout -d 'How long a start waits for a pair, CAs, CRLs and rules [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l alpn -d 'Protocols, best first: h2,http/1.1 [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l tls-min -d 'The oldest TLS version that is accepted: 1.2, 1.3 [1.2]' -r -f -a "1.2\t''
1.3\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l tls -d 'Whether clients speak TLS; off: HTTP in plaintext, behind the platform\'s own proxy: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l from -d 'Who may connect without TLS: self (this machine\'s own address), networks [self]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l client-auth -d 'Whether clients show a certificate: off, request, require [off, or require as soon as there is a rule]' -r -f -a "off\t''
request\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l client-ca -d 'CAs of clients: files, folders [$CF_SYSTEM_CERT_PATH]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l client-crl -d 'CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l allow -d 'Who may come in: cf:app:GUID, dns:NAME, any' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l deny -d 'Who may not, whatever is allowed' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l allow-app -d 'As --allow cf:app:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l allow-space -d 'As --allow cf:space:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l allow-org -d 'As --allow cf:org:GUID' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l policy -d 'More rules, in a TOML file: mode, allow, deny, routes' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l policy-mode -d 'Whether denials are enforced, or only logged: enforce, audit [as the policy file says, or enforce]' -r -f -a "enforce\t''
audit\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l mode -d 'What is done for clients: carry their bytes, or serve HTTP/1.1 and HTTP/2: tcp, http [tcp]' -r -f -a "tcp\t''
http\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l app-protocol -d 'What the app speaks: HTTP/1.1, or HTTP/2 without TLS: http1, h2c [http1]' -r -f -a "http1\t''
h2c\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l xfcc -d 'X-Forwarded-Client-Cert: whether the client\'s identity is set, and what clients forward passes: sanitize, sanitize-set, append-forward, forward-only, always-forward-only [sanitize-set]' -r -f -a "sanitize\t''
sanitize-set\t''
append-forward\t''
forward-only\t''
always-forward-only\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l xfcc-form -d 'How the client\'s identity is written: raw, envoy, rfc9440 [raw where our identity is Cloud Foundry\'s, else envoy]' -r -f -a "raw\t''
envoy\t''
rfc9440\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l xfcc-details -d 'What the form envoy has of it: by, hash, cert, chain, subject, uri, dns [hash,subject,uri,dns]' -r -f -a "by\t''
hash\t''
cert\t''
chain\t''
subject\t''
uri\t''
dns\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l xfcc-forward-from -d 'Clients that come in and may say who has called them, such as the platform\'s router' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l router-xfcc -d 'What those clients do with the X-Forwarded-Client-Cert that others send them: unknown, sanitize-set, forward [unknown]' -r -f -a "unknown\t''
sanitize-set\t''
forward\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l xfcc-absent -d 'Who calls where such a client forwards nobody: anonymous, client [anonymous]' -r -f -a "anonymous\t''
client\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l xfcc-verify -d 'Whether a forwarded identity has to be a certificate for which a client CA vouches: optional, require [optional]' -r -f -a "optional\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l sni-host -d 'Refuse requests whose Host is neither the name of the handshake nor one of the certificate: off, require [off]' -r -f -a "off\t''
require\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l path-ambiguous -d 'Where there are routes: paths that apps read differently, such as /a%2fb: reject, judge-raw [reject]' -r -f -a "reject\t''
judge-raw\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l path-changed -d 'Where there are routes: paths that are not written as they are judged, such as /a//b: reject, forward-folded [reject]' -r -f -a "reject\t''
forward-folded\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l health-path -d 'A path that callers without identity may GET, and nothing else: /health' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forwarded-for -d 'The client\'s address in X-Forwarded-For: behind what came, alone, or not at all: append, set, pass [append]' -r -f -a "append\t''
set\t''
pass\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forwarded -d 'Write Forwarded (RFC 7239) too: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l via -d 'Name the proxy in Via' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l upgrade -d 'Protocols that a connection may become: names, any or off [websocket]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l upgrade-drain -d 'While the instance goes: WebSockets stay until the drain is over, or their clients are told (1001): leave, close [leave]' -r -f -a "leave\t''
close\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l http-max-head -d 'The longest head of a request [64K]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l http-max-body -d 'The longest body of a request [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l http-head-timeout -d 'For the head of a request, from its first byte on [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l http-body-timeout -d 'How long the body of a request may be silent [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l h2-window-timeout -d 'How long an HTTP/2 client may leave no room for an answer [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l app-timeout -d 'For the app to begin its answer [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l app-idle-timeout -d 'Close a connection to the app on which nothing was asked for this long [4s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l max-requests -d 'Requests on one HTTP/1.1 connection [without end]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound -d 'The app dials LISTEN, we TO by mTLS: 9000=HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-expect -d 'Who may answer: cf:app:GUID, cf:same:space, dns:NAME' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-ca -d 'CAs of servers: own-issuer, system, files, folders [own-issuer where a cf: rule is expected, else $CF_SYSTEM_CERT_PATH and system]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-server-name -d 'The name in SNI, which the server\'s certificate must have, or off [the host that is dialled]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-identity -d 'Whether servers are shown our certificate: always, never [always]' -r -f -a "always\t''
never\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-balance -d 'Which of several endpoints is dialled: least-connections, round-robin, first [least-connections]' -r -f -a "least-connections\t''
round-robin\t''
first\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-protocol -d 'What the app speaks: anything (tcp), or HTTP/1.1, balanced by requests (http1): tcp, http1 [tcp]' -r -f -a "tcp\t''
http1\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-attempts -d 'Endpoints that are tried for one connection [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-eject -d 'Failures in a row after which an endpoint is left alone for a while, or off [3]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-eject-on -d 'What counts as a failure: connections that fail, or answers of 500 and above too (http1): connect, 5xx [connect]' -r -f -a "connect\t''
5xx\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-connect-timeout -d 'For one endpoint to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-handshake-timeout -d 'For the handshake with one endpoint [3s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-timeout -d 'For the lookup and all attempts together [5s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-idle-timeout -d 'Close a connection that is silent both ways for this long [off; 15s with http1]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-max-age -d 'Let go of a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-refresh -d 'Look the name up again at the latest after this, whatever its TTL [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-max-connections -d 'Connections, or requests with http1, at a time of each outbound listener [1024]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-max-pending -d 'Connections at a time that wait for an endpoint [256]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-proxy -d 'Dial by way of an HTTP proxy, with CONNECT: http://USER:PASSWORD@HOST:PORT' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-no-proxy -d 'Who is dialled without the proxy: a name, .DOMAIN, an address, a network' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy -d 'HTTP proxy that speaks mTLS for the app: on [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy-to -d 'Servers with which the app speaks as this instance: *.DOMAIN:PORT, NETWORK:PORT, with =RULE or not' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy-unlisted -d 'Refuse requests for others, or pass them on without our certificate: refuse, tunnel [refuse]' -r -f -a "refuse\t''
tunnel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy-tls-tunnel -d 'Whether the app may speak TLS by itself with listed servers, which then see no certificate: allow, refuse [allow]' -r -f -a "allow\t''
refuse\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy-map -d 'Dial a server at another port than the app names' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy-announce -d 'Tell the app by CF_INSTANCE_MTLS_PROXY (cf), by HTTP_PROXY and the like too (env), or not at all (off): cf, env, off [cf]' -r -f -a "cf\t''
env\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy-secret -d 'Have the app show a password, which is in the announced URL: on, off [off]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l forward-proxy-allow-address -d 'Addresses that are dialled though they are this machine\'s own, or of its link' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l identity-file -d 'Keep a fresh token (JWT) for this audience in this file' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l credential-file -d 'Keep a part of the pair in this file: pkcs8 (key), pem (key and chain), chain, ca' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l file-mode -d 'Who may read tokens and keys in these files; chain and ca are 0644 [0600]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l on-rotation -d 'After a rotation, signal the app (signal:HUP) or run a program (exec:PROGRAM ARG)' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l identity-listen -d 'Where the app asks for tokens: unix:/PATH [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l identity-audience -d 'For whom tokens may be asked' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l identity-ttl -d 'How long a token lives, at most and where the app does not say, 10s to 1h [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l identity-peer-uid -d 'Users who may ask by the socket file [our own, which is the app\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l identity-rate -d 'Signatures a second; five times as many at once [10/s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l identity-token-file -d 'Over TCP: where the bearer token is written that requests show [in a folder of ours]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l token-ca -d 'Verify tokens too (POST /verify): CAs, files and folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l token-crl -d 'Their CRLs, PEM or DER: files, folders' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l token-roles -d 'Which policies whom is granted, in a TOML file' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l token-max-ttl -d 'Refuse tokens that live longer than this [1h]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l token-skew -d 'How far clocks may be apart, at most 5m [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l resolve -d 'Whose references in the app\'s variables and service bindings are resolved before it starts: credhub, vault, transit, file' -r -f -a "credhub\t''
vault\t''
transit\t''
file\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l resolve-timeout -d 'For all references together; then the app is not started [30s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l credhub-url -d 'Where CredHub is: https://HOST:PORT [$CREDHUB_URL, or VCAP_PLATFORM_OPTIONS before both]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l credhub-ca -d 'CAs of CredHub: a file or a folder [$CF_SYSTEM_CERT_PATH and the system\'s]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l credhub-timeout -d 'For one question to CredHub, with all its tries [20s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l credhub-database-url -d 'Set DATABASE_URL from the first database that CredHub has resolved, if the app has none: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l secrets-dir -d 'Where the folder is made for secrets that the app gets as files [the first of /dev/shm and /run that is in memory]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-addr -d 'Where Vault or OpenBao is: https://HOST:PORT; http:// on loopback only [$VAULT_ADDR]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-role -d 'The role that is asked for; needed but for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-method -d 'How to log in: HashiCorp\'s CF plugin, the pair in mutual TLS, a JWT, or Comcast\'s plugin: cf, cert, jwt, comcast [cf]' -r -f -a "cf\t''
cert\t''
jwt\t''
comcast\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-mount -d 'Where the method is mounted [cf, cert, jwt or cloudfoundry, by the method]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-namespace -d 'The namespace in which everything is [$VAULT_NAMESPACE]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-ca -d 'CAs that vouch for the server [$VAULT_CACERT, or $CF_SYSTEM_CERT_PATH and system]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-audience -d 'For whom the token of the methods jwt and comcast is' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-policy -d 'A policy to be asked for, for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l vault-wrap-ttl -d 'Have the login wrapped on its way to us, for this time at most' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l secret-signal -d 'What the app gets once its files hold a new secret' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l secret-on-expiry -d 'When a secret in the app\'s variables is about to end: warn, or stop with status 69: warn, stop [warn]' -r -f -a "warn\t''
stop\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l handshake-timeout -d 'From accept to the end of the handshake [10s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l connect-timeout -d 'For the app to accept [1s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l idle-timeout -d 'Close a connection that is silent both ways for this long [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l max-age -d 'Close a connection that is older than this [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l max-connections -d 'Connections at a time [from the descriptor and memory limits]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l max-handshakes -d 'Unfinished handshakes at a time [as many as connections]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l memory-limit -d 'Memory of the proxy and the app together [the control group\'s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l threads -d 'Worker threads [the CPU quota, at most 2; 1 without]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l sandbox -d 'Fence in the proxy, never the app: Landlock, seccomp, no_new_privs: off, best-effort, strict [off]' -r -f -a "off\t''
best-effort\t''
strict\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l drain-delay -d 'After TERM, go on accepting for this long first [0s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l drain-timeout -d 'From TERM to the end, at most [8s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l drain-http -d 'Say Connection: close in HTTP/1.1 answers while draining: on, off [on]' -r -f -a "on\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l admin -d 'Admin listener: a port, ADDR:PORT, unix:/PATH, off [127.0.0.1:9901]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l metrics -d 'Metrics and probes alone, for scrapers: a port, ADDRESS:PORT or off [off]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l admin-actions -d 'What --admin may be asked to do, by POST: drain, reload, loglevel' -r -f -a "drain\t''
reload\t''
loglevel\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l admin-host -d 'Host names, beside localhost, that --admin answers to' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l log-format -d 'How lines on stderr look: json, text, lager [text on a terminal, else json]' -r -f -a "json\t''
text\t''
lager\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l log-level -d 'The least severe level that is written: off, error, warn, info, debug, trace [info]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l access-log -d 'Which connections and requests leave a line: off, denied, all [denied]' -r -f -a "off\t''
denied\t''
all\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l peer -d 'The client\'s certificate chain, PEM, leaf first' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l client -d 'Instead of --peer, with --path: who forwards the caller' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l client-xfcc -d 'With --path: the X-Forwarded-Client-Cert of a client that may forward' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l path -d 'Judge a request for this path too' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l method -d 'With --path: how it is asked for [GET]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l hide-app-port -d 'Give the app another PORT than the one that others know'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l hide-key -d 'Do not tell the app where the key is'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l unsafe-from -d 'Let --from name every address, so that everybody may say who calls'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l caller-headers -d 'Tell the app who calls in X-Vestibule-App, -Space, -Org, -Instance and -Subject-Kind'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-preserve-host -d 'With http1: keep the Host that the app writes'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l outbound-required -d 'Not ready while no endpoint is known'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l unsafe-listen -d 'Let outbound listeners be reached by other hosts, which then speak as this app'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l json -d 'Print JSON'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from test" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "test" -d 'The verdict on a certificate, and the rule that decided; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and not __fish_seen_subcommand_from jwt vault-cf verify vault help" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and not __fish_seen_subcommand_from jwt vault-cf verify vault help" -f -a "jwt" -d 'Print a JWT that the instance\'s key has signed'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and not __fish_seen_subcommand_from jwt vault-cf verify vault help" -f -a "vault-cf" -d 'Print the login of Vault\'s CF method, to be posted'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and not __fish_seen_subcommand_from jwt vault-cf verify vault help" -f -a "verify" -d 'The verdict on a token, and the check that decided; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and not __fish_seen_subcommand_from jwt vault-cf verify vault help" -f -a "vault" -d 'Log in to Vault or OpenBao; print its token, or keep it in a file'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and not __fish_seen_subcommand_from jwt vault-cf verify vault help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l cert -d 'The certificate chain, PEM [$CF_INSTANCE_CERT, or /etc/cf-instance-credentials/instance.crt]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l key -d 'Its key, PEM: PKCS#1, PKCS#8 or SEC1 [$CF_INSTANCE_KEY, or /etc/cf-instance-credentials/instance.key]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l audience -d 'For whom the token is; needed' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l ttl -d 'How long it lives, the certificate\'s end at most [5m]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l form -d 'How it is written: standard, comcast, uaa [standard]' -r -f -a "standard\t''
comcast\t''
uaa\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l alg -d 'How it is signed: RS256, PS256, ES256, ES384, EdDSA [by the key; RS256 for RSA]' -r -f -a "RS256\t''
PS256\t''
ES256\t''
ES384\t''
EdDSA\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l chain -d 'Which certificates it carries: full, leaf, none [full]' -r -f -a "full\t''
leaf\t''
none\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l subject -d 'The claim sub [cf:app:GUID, or the certificate\'s first URI]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l issuer -d 'The claim iss [the subject]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l claim -d 'One more claim' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l policy -d 'With --form comcast: the policies that are asked for' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l client-id -d 'With --form uaa: the client that is meant' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l write -d 'Write it to a file, whole or not at all' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l mode -d 'The mode of that file [0600]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l bind -d 'Count only together with the certificate (cnf)'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from jwt" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault-cf" -l cert -d 'The certificate chain, PEM [$CF_INSTANCE_CERT, or /etc/cf-instance-credentials/instance.crt]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault-cf" -l key -d 'Its key, PEM: PKCS#1, PKCS#8 or SEC1 [$CF_INSTANCE_KEY, or /etc/cf-instance-credentials/instance.key]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault-cf" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault-cf" -l role -d 'The role that is asked for; needed' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault-cf" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l ca -d 'CAs of those who sign, PEM: files, folders; needed' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l crl -d 'What those CAs have taken back, PEM or DER' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l audience -d 'For whom it has to be: one of these; needed' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l skew -d 'By how much clocks may differ [60s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l max-ttl -d 'How long it may live at most [1h]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l form -d 'How it is written: standard, comcast [standard]' -r -f -a "standard\t''
comcast\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l identity -d 'Whose certificates count: Cloud Foundry\'s, or any: cf, any [cf]' -r -f -a "cf\t''
any\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l peer -d 'Who has sent it, as the TLS handshake showed, PEM' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l issuer -d 'An iss that counts beside the subject' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l roles -d 'Which roles and policies there are for whom, TOML' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l role -d 'The role that is asked for' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l replay-file -d 'It counts once: where used tokens are remembered' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l json -d 'Print JSON'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l require-bound -d 'Only tokens that are bound to a certificate count (cnf)'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from verify" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l cert -d 'The certificate chain, PEM [$CF_INSTANCE_CERT, or /etc/cf-instance-credentials/instance.crt]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l key -d 'Its key, PEM: PKCS#1, PKCS#8 or SEC1 [$CF_INSTANCE_KEY, or /etc/cf-instance-credentials/instance.key]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l config -d 'A vestibule.toml that holds any of these' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l addr -d 'Where Vault or OpenBao is: https://HOST:PORT; http:// on loopback only [$VAULT_ADDR]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l role -d 'The role that is asked for; needed but for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l method -d 'How to log in: HashiCorp\'s CF plugin, the pair in mutual TLS, a JWT, or Comcast\'s plugin: cf, cert, jwt, comcast [cf]' -r -f -a "cf\t''
cert\t''
jwt\t''
comcast\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l mount -d 'Where the method is mounted [cf, cert, jwt or cloudfoundry, by the method]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l namespace -d 'The namespace in which everything is [$VAULT_NAMESPACE]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l ca -d 'CAs that vouch for the server [$VAULT_CACERT, or $CF_SYSTEM_CERT_PATH and system]' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l audience -d 'For whom the token of the methods jwt and comcast is' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l policy -d 'A policy to be asked for, for the method comcast' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l wrap-ttl -d 'Print a wrapping token instead, which gives the token once within this time' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l write -d 'Keep the token fresh in this file until stopped, instead of printing one' -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l mode -d 'The mode of that file [0600]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l once -d 'Write the file and exit'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from vault" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "jwt" -d 'Print a JWT that the instance\'s key has signed'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "vault-cf" -d 'Print the login of Vault\'s CF method, to be posted'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "verify" -d 'The verdict on a token, and the check that decided; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "vault" -d 'Log in to Vault or OpenBao; print its token, or keep it in a file'
complete -c vestibule -n "__fish_vestibule_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l validity -d 'How long each certificate is valid [24h]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l rotate-every -d 'Write a new pair this often [as Diego does]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l org -d 'The organization in the certificate [random]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l space -d 'The space [random]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l app -d 'The app [random]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l instance -d 'The instance: its common name and DNS name [random]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l ip -d 'The IP address in the certificate [127.0.0.1]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l key -d 'What kind of key: rsa-2048, rsa-3072, rsa-4096, p-256, p-384, ed25519 [rsa-3072]' -r -f -a "rsa-2048\t''
rsa-3072\t''
rsa-4096\t''
p-256\t''
p-384\t''
ed25519\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l client-named -d 'Also write NAME.crt and NAME.key, one more app for each' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l inject -d 'Write a faulty pair, for tests: torn, expired, not-yet-valid, mismatch, wrong-ca' -r -f -a "torn\t''
expired\t''
not-yet-valid\t''
mismatch\t''
wrong-ca\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l client -d 'Also write a client certificate for another app'
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l second-instance -d 'Also write the pair of a second instance'
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l once -d 'Write and exit'
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l retire -d 'Write the pair of an instance that is about to go'
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -l help -d 'Print help with all options'
complete -c vestibule -n "__fish_vestibule_using_subcommand issuer" -s h -d 'Print help with the common ones'
complete -c vestibule -n "__fish_vestibule_using_subcommand completions" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -s c -l config-path -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -l id-creds -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -l c2c-creds -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -l id-validation -r -F
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -l drain-time-s -r
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -s l -l log-level -r -f -a "trace\t''
debug\t''
info\t''
warning\t''
warn\t''
error\t''
critical\t''
off\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -l mode -r -f -a "serve\t''
validate\t''
init_only\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -l sandbox -r -f -a "off\t''
best-effort\t''
strict\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -l version
complete -c vestibule -n "__fish_vestibule_using_subcommand envoy" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand demo" -l listen -d 'Where clients dial the demo [127.0.0.1:8443]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand demo" -l rotate-every -d 'How often the pair is replaced [5s]' -r -f
complete -c vestibule -n "__fish_vestibule_using_subcommand demo" -l log-level -d 'The least severe line of the proxy\'s own log that is shown: off, error, warn, info, debug, trace [off]' -r -f -a "off\t''
error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c vestibule -n "__fish_vestibule_using_subcommand demo" -l green-blue -d 'Two front-ends call, green and blue; only green is allowed in'
complete -c vestibule -n "__fish_vestibule_using_subcommand demo" -l http -d 'Two front-ends ask for paths; routes say who may have which'
complete -c vestibule -n "__fish_vestibule_using_subcommand demo" -l tokens -d 'Tokens are made, verified, and refused where they do not count'
complete -c vestibule -n "__fish_vestibule_using_subcommand demo" -s h -l help -d 'Print help'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "run" -d 'Start the app behind the proxy; the container\'s entrypoint'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "proxy" -d 'The proxy alone; something else starts the app'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "check" -d 'Read everything, open nothing; one line per finding; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "wait" -d 'Wait until a running proxy is ready; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "health" -d 'Ask a running proxy once whether it is ready; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "identity" -d 'What a certificate says'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "policy" -d 'Authorization rules on a dry run'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "token" -d 'Prove who this instance is, or check who another one is'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "issuer" -d 'A development CA that rotates instance credentials as Diego does'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "completions" -d 'Print the completions for bash, zsh or fish'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "envoy" -d 'What Diego starts; also when the program is called as `envoy`'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "demo" -d 'Issuer, small app and proxy on one machine, with commands to try'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and not __fish_seen_subcommand_from run proxy check wait health identity policy token issuer completions envoy demo help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "test" -d 'The verdict on a certificate, and the rule that decided; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "jwt" -d 'Print a JWT that the instance\'s key has signed'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "vault-cf" -d 'Print the login of Vault\'s CF method, to be posted'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "verify" -d 'The verdict on a token, and the check that decided; exit 0 or 1'
complete -c vestibule -n "__fish_vestibule_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "vault" -d 'Log in to Vault or OpenBao; print its token, or keep it in a file'
complete -c vestibule -n "__fish_seen_subcommand_from run; and contains -- -- (commandline -opc)" -x -a "(__fish_complete_command)"
complete -c vestibule -n "__fish_seen_subcommand_from completions" -f -a "bash zsh fish"
