set -e
through="-sSk -m 60 --proxytunnel"
curl $through "$1/hello"
head -c 100000 /dev/zero | curl $through -T - "$1/count"
curl $through "$1/large" | wc -c
