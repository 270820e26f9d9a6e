// A goroutine per connection and whole frames, in two ways: `tutorial` writes each frame as it comes; `tuned` reads and
// writes through bufio and flushes when the next whole frame is not there yet.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

const (
	headSize   = 4
	frameLimit = 16 << 20
	bufferSize = 8 << 10
)

func tutorial(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReader(connection)
	head := make([]byte, headSize)
	for {
		if _, err := io.ReadFull(reader, head); err != nil {
			return
		}
		length := binary.LittleEndian.Uint32(head)
		if length > frameLimit {
			return
		}
		frame := make([]byte, headSize+length)
		copy(frame, head)
		if _, err := io.ReadFull(reader, frame[headSize:]); err != nil {
			return
		}
		if _, err := connection.Write(frame); err != nil {
			return
		}
	}
}

// Whether the reader already holds a whole frame, so that flushing can wait for it.
func holdsFrame(reader *bufio.Reader) bool {
	if reader.Buffered() < headSize {
		return false
	}
	head, _ := reader.Peek(headSize)
	return reader.Buffered() >= headSize+int(binary.LittleEndian.Uint32(head))
}

func tuned(connection net.Conn) {
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, bufferSize)
	writer := bufio.NewWriterSize(connection, bufferSize)
	var large []byte
	for {
		head, err := reader.Peek(headSize)
		if err != nil {
			return
		}
		length := binary.LittleEndian.Uint32(head)
		if length > frameLimit {
			return
		}
		whole := headSize + int(length)
		if whole <= bufferSize {
			frame, err := reader.Peek(whole)
			if err != nil {
				return
			}
			if _, err := writer.Write(frame); err != nil {
				return
			}
			reader.Discard(whole)
		} else {
			if cap(large) < whole {
				large = make([]byte, whole)
			}
			if _, err := io.ReadFull(reader, large[:whole]); err != nil {
				return
			}
			if _, err := writer.Write(large[:whole]); err != nil {
				return
			}
		}
		if !holdsFrame(reader) {
			if err := writer.Flush(); err != nil {
				return
			}
		}
	}
}

func main() {
	ways := map[string]func(net.Conn){"tutorial": tutorial, "tuned": tuned}
	if len(os.Args) != 3 || ways[os.Args[1]] == nil {
		log.Fatal("usage: framed tutorial|tuned ADDRESS")
	}
	listener, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go ways[os.Args[1]](connection)
	}
}
