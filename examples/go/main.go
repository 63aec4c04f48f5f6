// Hello is a web service that takes its socket from whoever starts it, or opens PORT.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// listener is the socket that was handed over as descriptor 3 (LISTEN_FDS, sd_listen_fds(3)), else a new one on PORT.
func listener() (net.Listener, error) {
	pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID"))
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid == os.Getpid() && count > 0 {
		file := os.NewFile(3, "listen")
		defer file.Close()
		return net.FileListener(file)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	return net.Listen("tcp", ":"+port)
}

func main() {
	log.SetFlags(0)
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"status":"ok"}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, "Hello from Go, process %d\n", os.Getpid())
	})
	// While it ends, each answer says `Connection: close`: clients that keep connections open come back to another process.
	var ending atomic.Bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ending.Load() {
			w.Header().Set("Connection", "close")
		}
		mux.ServeHTTP(w, r)
	})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}

	socket, err := listener()
	if err != nil {
		log.Fatal(err)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-stop.Done()
		log.Print("Go finishes")
		// Shutdown cuts the connections at rest, and with them a request that is just on its way: first they are told.
		ending.Store(true)
		time.Sleep(500 * time.Millisecond)
		limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(limit); err != nil {
			log.Print(err)
		}
	}()
	log.Printf("Go listens on %s", socket.Addr())
	if err := server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-done
}
