// Go's crypto/tls: tls PORT CA VERSION COUNT, where VERSION is 1.2 or 1.3.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/rand"
	"os"
	"strconv"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func frames(count int) []byte {
	sizes := []int{0, 1, 16 << 10, 16<<10 + 1, 1 << 20}
	var all []byte
	for i := 0; i < count; i++ {
		size := rand.Intn(40_000)
		if i < len(sizes) {
			size = sizes[i]
		}
		payload := make([]byte, size)
		rand.Read(payload)
		all = append(binary.LittleEndian.AppendUint32(all, uint32(size)), payload...)
	}
	return all
}

func exchange(address string, config *tls.Config, count int, resumed bool) {
	connection, err := tls.Dial("tcp", address, config)
	check(err)
	if connection.ConnectionState().DidResume != resumed {
		log.Fatalf("resumed: %v, not %v", !resumed, resumed)
	}
	sent := frames(count)
	go func() {
		_, err := connection.Write(sent)
		check(err)
		// close_notify: the server answers all that came before it.
		check(connection.CloseWrite())
	}()
	// It ends without an error only at the server's close_notify.
	back, err := io.ReadAll(connection)
	check(err)
	if !bytes.Equal(back, sent) {
		log.Fatalf("%d bytes came back, changed or not, of %d", len(back), len(sent))
	}
	connection.Close()
}

func main() {
	pem, err := os.ReadFile(os.Args[2])
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{
		RootCAs:            roots,
		ServerName:         "localhost",
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		MaxVersion:         map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[os.Args[3]],
	}
	count, err := strconv.Atoi(os.Args[4])
	check(err)
	exchange("127.0.0.1:"+os.Args[1], config, count-5, false)
	exchange("127.0.0.1:"+os.Args[1], config, 5, true)
	fmt.Printf("%d frames\n", count)
}
