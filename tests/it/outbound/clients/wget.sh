set -e
wget -qO- -t 1 --no-check-certificate "$1/hello"
head -c 100000 /dev/zero >body
wget -qO- -t 1 --no-check-certificate --post-file=body "$1/count"
wget -qO- -t 1 --no-check-certificate "$1/large" | wc -c
