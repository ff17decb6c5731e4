// peer_plan MODEL.gguf DEVICES - what gguf-parser-go says of llama.cpp on so many equal devices with a
// context of 4096: bytes on the host and on all devices. `./dev bench --peer` measures it beside `snug plan`.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"

	gguf "github.com/gpustack/gguf-parser-go"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: peer_plan MODEL.gguf DEVICES")
	}
	devices, err := strconv.Atoi(os.Args[2])
	if err != nil || devices < 1 {
		log.Fatal("not a number of devices: ", os.Args[2])
	}
	split := make([]float64, devices) // the share of the layers up to and with each device
	for i := range split {
		split[i] = float64(i+1) / float64(devices)
	}
	f, err := gguf.ParseGGUFFile(os.Args[1], gguf.SkipLargeMetadata(), gguf.UseMMap()) // its fastest way
	if err != nil {
		log.Fatal(err)
	}
	item := f.EstimateLLaMACppRun(gguf.WithLLaMACppContextSize(4096), gguf.WithFlashAttention(),
		gguf.WithTensorSplitFraction(split)).SummarizeItem(true, 0, 0)
	var vram uint64
	for _, v := range item.VRAMs {
		vram += uint64(v.NonUMA)
	}
	fmt.Println(uint64(item.RAM.NonUMA), vram)
}
