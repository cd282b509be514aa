// Command pause holds a pod's namespaces and is the smallest image the tool's own tests can run.
//
// Without arguments it sleeps and reaps orphans, as the first process of a pod must. With
// arguments it answers one question from inside a pod: `lookup NAME`, `get URL`, or serves
// `listen ADDRESS`.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		pause()
		return
	}
	if err := answer(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

func answer(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("usage: pause [lookup NAME | get URL | listen ADDRESS]")
	}
	switch arguments[0] {
	case "lookup":
		addresses, err := net.LookupHost(arguments[1])
		fmt.Println(addresses)
		return err
	case "get":
		return get(arguments[1])
	case "listen":
		return http.ListenAndServe(arguments[1], http.HandlerFunc(hello))
	}
	return fmt.Errorf("unknown question %q", arguments[0])
}

func get(url string) error {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func hello(writer http.ResponseWriter, _ *http.Request) {
	name, _ := os.Hostname()
	fmt.Fprintf(writer, "hello from %s\n", name)
}
