// An engine in Go: go run ./example
package main

import (
	"encoding/binary"
	"log"
	"math"

	"refquant/rqadapter"
)

func half(at []byte) float32 {
	bits := binary.LittleEndian.Uint16(at)
	exponent, rest := int(bits>>10&31), float64(bits&1023)
	size := math.Ldexp(rest+1024, exponent-25)
	switch {
	case exponent == 31 && rest != 0:
		size = math.NaN()
	case exponent == 31:
		size = math.Inf(1)
	case exponent == 0:
		size = math.Ldexp(rest, -24)
	}
	if bits>>15 == 1 {
		size = -size
	}
	return float32(size)
}

func decodeQ4(blocks []byte) []byte {
	var values []byte
	for at := 0; at+18 <= len(blocks); at += 18 {
		scale, codes := half(blocks[at:]), blocks[at+2:at+18]
		for i := 0; i < 32; i++ {
			code := float32(codes[i%16]>>(i/16*4)&15) - 8
			values = binary.LittleEndian.AppendUint32(values, math.Float32bits(scale*code))
		}
	}
	return values
}

func run(c *rqadapter.Case) (map[string][]byte, error) {
	if c.Op != "decode" || c.Param("scheme") != "ggml/q4_0" {
		return nil, rqadapter.ErrUnsupported
	}
	return map[string][]byte{"values": decodeQ4(c.Inputs["blocks"])}, nil
}

func main() {
	if err := rqadapter.Serve("example-go", []string{"decode.ggml-q4_0"}, run); err != nil {
		log.Fatal(err)
	}
}
