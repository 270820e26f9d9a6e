// TLS of crypto/tls, a goroutine per connection, no parsing: main.go CERTIFICATE KEY [ADDRESS [BUFFER]].
//
// BUFFER is what each connection reads into, in bytes; 4,096 if it is not given, so that idle connections hold little.
package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
)

func echo(connection net.Conn, bufferSize int) {
	defer connection.Close()
	buffer := make([]byte, bufferSize)
	for {
		got, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:got]); err != nil {
			return
		}
	}
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: main.go CERTIFICATE KEY [ADDRESS [BUFFER]]")
	}
	address, bufferSize := "127.0.0.1:0", 4<<10
	if len(os.Args) > 3 {
		address = os.Args[3]
	}
	if len(os.Args) > 4 {
		size, err := strconv.Atoi(os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		bufferSize = size
	}
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	listener, err := tls.Listen("tcp", address, config)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(connection, bufferSize)
	}
}
