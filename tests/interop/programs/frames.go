// Go's own encoding/binary, as the tutorials use it: frames PORT DIALECT COUNT, where DIALECT is go-tutorial, be16,
// be64 or uvarint.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"os"
	"strconv"
)

// encode is the tutorials': an int32, little-endian, and the message behind it.
func encode(message []byte) []byte {
	packet := new(bytes.Buffer)
	if err := binary.Write(packet, binary.LittleEndian, int32(len(message))); err != nil {
		log.Fatal(err)
	}
	if err := binary.Write(packet, binary.LittleEndian, message); err != nil {
		log.Fatal(err)
	}
	return packet.Bytes()
}

// decode is the tutorials' too: it peeks at the length and waits until all of the message is buffered.
func decode(reader *bufio.Reader) ([]byte, error) {
	head, err := reader.Peek(4)
	if err != nil {
		return nil, err
	}
	var length int32
	if err := binary.Read(bytes.NewBuffer(head), binary.LittleEndian, &length); err != nil {
		return nil, err
	}
	packet := make([]byte, int(4+length))
	if _, err := io.ReadFull(reader, packet); err != nil {
		return nil, err
	}
	return packet[4:], nil
}

func write(dialect string, message []byte) []byte {
	switch dialect {
	case "be16":
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
	case "be64":
		return append(binary.BigEndian.AppendUint64(nil, uint64(len(message))), message...)
	case "uvarint":
		return append(binary.AppendUvarint(nil, uint64(len(message))), message...)
	}
	return encode(message)
}

func read(dialect string, reader *bufio.Reader) ([]byte, error) {
	var length uint64
	var err error
	switch dialect {
	case "be16":
		var short uint16
		err = binary.Read(reader, binary.BigEndian, &short)
		length = uint64(short)
	case "be64":
		err = binary.Read(reader, binary.BigEndian, &length)
	case "uvarint":
		length, err = binary.ReadUvarint(reader)
	default:
		return decode(reader)
	}
	if err != nil {
		return nil, err
	}
	message := make([]byte, length)
	_, err = io.ReadFull(reader, message)
	return message, err
}

func main() {
	dialect := os.Args[2]
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	connection, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	messages := make([][]byte, count)
	for i := range messages {
		messages[i] = make([]byte, rand.Intn(65_536))
		rand.Read(messages[i])
	}
	messages[0] = nil
	go func() {
		for _, message := range messages {
			if _, err := connection.Write(write(dialect, message)); err != nil {
				log.Fatal(err)
			}
		}
	}()
	reader := bufio.NewReader(connection)
	for i, message := range messages {
		back, err := read(dialect, reader)
		if err != nil {
			log.Fatal(err)
		}
		if !bytes.Equal(back, message) {
			log.Fatalf("frame %d came back changed", i)
		}
	}
	connection.Close()
	fmt.Printf("%d frames\n", count)
}
