# Java reads the proxy in properties alone.
at=${CF_INSTANCE_MTLS_PROXY#http://}
at=${at##*@}
host=${at%:*} port=${at##*:}
exec java -Dhttp.proxyHost="$host" -Dhttp.proxyPort="$port" -Dhttps.proxyHost="$host" -Dhttps.proxyPort="$port" "${0%/*}/Client.java" "$@"
