// net/http: answers with the body of the request: http ADDRESS.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func echo(answer http.ResponseWriter, request *http.Request) {
	if request.ContentLength < 0 {
		io.Copy(answer, request.Body)
		return
	}
	// With its length known the answer is not sent in chunks, and is written at once.
	body := make([]byte, request.ContentLength)
	if _, err := io.ReadFull(request.Body, body); err != nil {
		return
	}
	answer.Header().Set("Content-Length", fmt.Sprint(len(body)))
	answer.Write(body)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: http ADDRESS")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(echo)))
}
