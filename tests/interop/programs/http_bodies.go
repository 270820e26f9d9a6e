// Go's HTTP client, and its ReverseProxy, which cuts off an answer that begins before the request has ended
// (golang/go#15527):
//
//	http_bodies client URL LENGTH...
//	http_bodies proxy URL           serves until its standard input ends, and prints where
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"
)

// unsized hides the length of what it reads, so that it is sent in chunks.
type unsized struct{ io.Reader }

func client(target string, lengths []string) {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{}}
	echoed := 0
	for _, text := range lengths {
		length, err := strconv.Atoi(text)
		if err != nil {
			log.Fatal(err)
		}
		body := make([]byte, length)
		rand.Read(body)
		for name, reader := range map[string]io.Reader{
			"by length": bytes.NewReader(body),
			"in chunks": unsized{bytes.NewReader(body)},
		} {
			response, err := client.Post(target, "application/octet-stream", reader)
			if err != nil {
				log.Fatalf("%d bytes %s: %v", length, name, err)
			}
			back, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || response.StatusCode != 200 || !bytes.Equal(back, body) {
				log.Fatalf("%d bytes %s: %s, %d bytes back, %v", length, name, response.Status, len(back), err)
			}
			echoed++
		}
	}
	fmt.Printf("%d bodies\n", echoed)
}

// ended answers a read behind the end of a body itself. ReverseProxy's transport makes one such read behind a body of
// known length, and if the answer has come before it, the server has closed the body: the read fails, and the transport
// cuts the answer off. It is a race within net/http that no upstream can avoid.
type ended struct {
	io.ReadCloser
	is bool
}

func (body *ended) Read(into []byte) (int, error) {
	if body.is {
		return 0, io.EOF
	}
	count, err := body.ReadCloser.Read(into)
	body.is = err == io.EOF
	return count, err
}

func proxy(target string) {
	to, err := url.Parse(target)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	forward := httputil.NewSingleHostReverseProxy(to)
	go http.Serve(listener, http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		request.Body = &ended{request.Body, false}
		forward.ServeHTTP(writer, request)
	}))
	io.Copy(io.Discard, os.Stdin)
}

func main() {
	switch os.Args[1] {
	case "client":
		client(os.Args[2], os.Args[3:])
	case "proxy":
		proxy(os.Args[2])
	}
}
