// Go's own net/rpc, over gob or over JSON: rpc gob|json ADDRESS
package main

import (
	"fmt"
	"log"
	"math"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
)

// Args are as in the documentation of net/rpc.
type Args struct {
	A, B int
}

func main() {
	dial := rpc.Dial
	if os.Args[1] == "json" {
		dial = jsonrpc.Dial
	}
	client, err := dial("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	// One at a time, then many without waiting.
	var product int
	if err := client.Call("Arith.Multiply", &Args{7, 8}, &product); err != nil || product != 56 {
		log.Fatalf("7 * 8 = %d, %v", product, err)
	}
	calls := make([]*rpc.Call, 1000)
	for i := range calls {
		calls[i] = client.Go("Arith.Multiply", &Args{i, i - 500}, new(int), nil)
	}
	for i, call := range calls {
		<-call.Done
		if call.Error != nil || *call.Reply.(*int) != i*(i-500) {
			log.Fatalf("call %d: %v, %v", i, *call.Reply.(*int), call.Error)
		}
	}
	// Errors are answers: the connection goes on.
	for _, wrong := range []struct {
		method string
		args   any
	}{
		{"Arith.Divide", &Args{1, 2}},
		{"Arith.Multiply", &Args{math.MaxInt64, 2}},
		{"Arith.Multiply", "seven"},
	} {
		err := client.Call(wrong.method, wrong.args, &product)
		if _, ok := err.(rpc.ServerError); !ok {
			log.Fatalf("%v: %v", wrong, err)
		}
		fmt.Println(err)
	}
	if err := client.Call("Arith.Multiply", &Args{-3, 4}, &product); err != nil || product != -12 {
		log.Fatalf("-3 * 4 = %d, %v", product, err)
	}
	client.Close()
}
