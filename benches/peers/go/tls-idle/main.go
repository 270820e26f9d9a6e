// Resident memory for each idle TLS 1.3 connection of a server: main.go ADDRESS PID COUNT...
//
// Opens connections with one round trip of a 64-byte frame each, and says at each COUNT by how much process PID has grown.
// At the end each of them has a round trip again.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
)

// Far below the number of ports of a source address.
const perSource = 5_000

var frame = append([]byte{64, 0, 0, 0}, bytes.Repeat([]byte{7}, 64)...)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func resident(pid string) int {
	rollup, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	check(err)
	for _, line := range strings.Split(string(rollup), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "Rss:" {
			kib, err := strconv.Atoi(words[1])
			check(err)
			return kib << 10
		}
	}
	log.Fatal("no Rss")
	return 0
}

func exchange(connection net.Conn) {
	_, err := connection.Write(frame)
	check(err)
	back := make([]byte, len(frame))
	_, err = io.ReadFull(connection, back)
	check(err)
	if !bytes.Equal(back, frame) {
		log.Fatal("a frame came back changed")
	}
}

func open(address string, index int) net.Conn {
	source := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+index/perSource))}
	plain, err := (&net.Dialer{LocalAddr: source}).Dial("tcp", address)
	check(err)
	connection := tls.Client(plain, &tls.Config{
		InsecureSkipVerify: true, // It measures, and has nothing to hide.
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
	})
	exchange(connection)
	return connection
}

func main() {
	address, pid := os.Args[1], os.Args[2]
	// The pages that a server touches for its first connection are not part of the cost of the others.
	open(address, 0).Close()
	empty := resident(pid)
	var connections []net.Conn
	for _, argument := range os.Args[3:] {
		count, err := strconv.Atoi(argument)
		check(err)
		for len(connections) < count {
			connections = append(connections, open(address, len(connections)))
		}
		each := (resident(pid) - empty) / count
		fmt.Printf("empty %d KiB, %d bytes each at %d\n", empty>>10, each, count)
	}
	for _, connection := range connections {
		exchange(connection)
	}
	fmt.Printf("all %d answer again\n", len(connections))
}
