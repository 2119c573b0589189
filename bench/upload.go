package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"wxplatform/wechat/wechatsim"
)

const (
	uploadPath   = "/cgi-bin/media/upload?type=video"
	boundary     = "bench"
	uploadBegins = "--" + boundary + "\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.mp4\"\r\nContent-Type: video/mp4\r\n\r\n"
	uploadEnds   = "\r\n--" + boundary + "--\r\n"
)

// measureUploads prints the platform's memory before and during uploads that are all in flight at
// once.
func measureUploads(ctx context.Context, out io.Writer, args []string) error {
	b := &bench{}
	flags := b.newFlags("upload", 50)
	size := flags.Int64("megabytes", 20, "size of an upload")
	_ = flags.Parse(args)
	return b.run(ctx, func(ctx context.Context) error { return b.measureUploads(ctx, out, *size<<20) }, b.startPlatform, b.pushTicket)
}

func (b *bench) measureUploads(ctx context.Context, out io.Writer, size int64) error {
	_, jwt, err := b.onboard(ctx, "bench", wechatsim.SampleService)
	if err != nil {
		return err
	}
	before, err := b.platform.memory()
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	uploads, _ := errgroup.WithContext(ctx)
	for range b.connections {
		uploads.Go(func() error { return b.upload(jwt, size) })
	}
	began, took := time.Now(), time.Duration(0)
	ended := make(chan error, 1)
	go func() {
		err := uploads.Wait()
		took = time.Since(began)
		stop()
		ended <- err
	}()
	highest, _, err := b.watchMemory(watching, 5*time.Minute, 50*time.Millisecond)
	if err != nil {
		return err
	}
	if err := <-ended; err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "resident memory: %.0f MB before, at most %.0f MB during %d uploads of %d MB at once, which took %.1f s\n",
		before, highest, b.connections, size>>20, took.Seconds())
	return err
}

// upload sends one file over a connection of its own. It pauses in the middle, so that all uploads
// are in flight at once.
func (b *bench) upload(jwt string, size int64) error {
	c, err := net.Dial("tcp", b.address)
	if err != nil {
		return err
	}
	defer c.Close()
	head := "POST /v1/authorizers/" + string(wechatsim.SampleService) + uploadPath + " HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + jwt +
		"\r\nContent-Type: multipart/form-data; boundary=" + boundary +
		"\r\nContent-Length: " + strconv.FormatInt(int64(len(uploadBegins))+size+int64(len(uploadEnds)), 10) + "\r\n\r\n" + uploadBegins
	if _, err := io.WriteString(c, head); err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	for sent := int64(0); sent < size; sent += int64(len(chunk)) {
		if sent == size/2 {
			time.Sleep(2 * time.Second)
		}
		if _, err := c.Write(chunk[:min(int64(len(chunk)), size-sent)]); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(c, uploadEnds); err != nil {
		return err
	}
	return uploaded(c)
}

// uploaded reads the answer.
func uploaded(from io.Reader) error {
	answer, err := http.ReadResponse(bufio.NewReader(from), nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && (answer.StatusCode != http.StatusOK || !strings.Contains(string(body), "media_id")) {
		err = fmt.Errorf("the platform answered an upload with %d %s", answer.StatusCode, strings.TrimSpace(string(body)))
	}
	return err
}
