# Compiled where what is compiled once is kept.
exec env CGO_ENABLED=0 GOTOOLCHAIN=local GOCACHE="$1" go run "${0%/*}/client.go" "$2"
