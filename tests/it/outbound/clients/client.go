package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func body(response *http.Response, err error) []byte {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer response.Body.Close()
	bytes, err := io.ReadAll(response.Body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return bytes
}

func main() {
	url := os.Args[1]
	unverified := &tls.Config{InsecureSkipVerify: true}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: unverified}}
	hello := body(client.Get(url + "/hello"))
	// Of a length that is not known, so it is sent in chunks.
	zeros := io.MultiReader(strings.NewReader(strings.Repeat("0", 100000)))
	count := body(client.Post(url+"/count", "text/plain", zeros))
	fmt.Println(string(hello), string(count), len(body(client.Get(url+"/large"))))
}
