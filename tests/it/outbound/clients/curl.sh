set -e
curl -sSk -m 60 "$1/hello"
head -c 100000 /dev/zero | curl -sSk -m 60 -T - "$1/count"
curl -sSk -m 60 "$1/large" | wc -c
