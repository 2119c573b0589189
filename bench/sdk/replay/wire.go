package replay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const waitsAbove = 1 << 20 // bytes of a body for which an SDK that expects 100 Continue waits

type request struct {
	method, path, query, contentType string
	body                             []byte
}

// said is an answer, read whole.
type said struct {
	path   string
	status int
	header http.Header
	body   []byte
}

// send writes the bytes of a request to a new connection, and reads the answer.
func (c *client) send(r request) (said, error) {
	conn, err := net.Dial("tcp", c.host)
	if err != nil {
		return said{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	waits := c.expects && len(r.body) > waitsAbove
	if _, err := conn.Write(c.head(r, waits)); err != nil {
		return said{}, err
	}
	from := bufio.NewReader(conn)
	if waits {
		if interim, err := http.ReadResponse(from, nil); err != nil || interim.StatusCode != http.StatusContinue {
			return said{}, fmt.Errorf("got %v, %w, want 100 Continue", interim, err)
		}
	}
	if _, err := conn.Write(r.body); err != nil {
		return said{}, err
	}
	return read(from, r)
}

func read(from *bufio.Reader, r request) (said, error) {
	answer, err := http.ReadResponse(from, &http.Request{Method: r.method})
	if err != nil {
		return said{}, err
	}
	body, err := io.ReadAll(answer.Body)
	return said{r.path, answer.StatusCode, answer.Header, body}, err
}

func (c *client) head(r request, waits bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s%s?%s HTTP/1.1\r\nHost: %s\r\n", r.method, c.root, r.path, r.query, c.host)
	b.WriteString(strings.Join(c.fields, "\r\n") + "\r\n")
	if waits {
		b.WriteString("Expect: 100-Continue\r\n")
	}
	if r.contentType != "" {
		b.WriteString("Content-Type: " + r.contentType + "\r\n")
	}
	if r.method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	return b.Bytes()
}
