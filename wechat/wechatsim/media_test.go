package wechatsim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"wxplatform/wechat"
)

const (
	uploadPath = "/cgi-bin/media/upload"
	getPath    = "/cgi-bin/media/get"
)

// sends posts a body with a Content-Type and a length; -1 sends it in chunks.
func (r *rig) sends(path string, query url.Values, contentType string, body io.Reader, length int64) (*http.Response, object) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.server.URL+path+"?"+query.Encode(), body)
	r.must(err)
	req.Header.Set("Content-Type", contentType)
	req.ContentLength = length
	resp, err := http.DefaultTransport.RoundTrip(req)
	r.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	r.must(err)
	var answer object
	_ = json.Unmarshal(text, &answer)
	return resp, answer
}

func (r *rig) uploads(path string, query url.Values, text string) object {
	r.t.Helper()
	_, answer := r.sends(path, query, "multipart/form-data; boundary=xyz", strings.NewReader(text), int64(len(text)))
	return answer
}

// inForm is a form with a file.
func inForm(data string) string {
	return "--xyz\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n" + data + "\r\n--xyz--\r\n"
}

func (r *rig) with(id wechat.AppID, more ...string) url.Values {
	query := url.Values{"access_token": {r.LastAccessToken(id)}}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return query
}

// daysLater goes on when temporary files are gone, with new tokens.
func (r *rig) daysLater() {
	r.t.Helper()
	r.clock.advance(mediaLife)
	r.PushTicket()
	r.pushes()
	r.componentToken()
	for _, id := range []wechat.AppID{SampleService, SampleOfficial} {
		if r.RefreshToken(id) != "" {
			r.refresh(id)
		}
	}
}

func TestAFileIsFetchedAsItWasUploaded(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 1, 11)
	data := strings.Repeat("\x00\xff\r\n--xy", 20_000)
	id := r.text(r.uploads(uploadPath, r.with(SampleService, "type", "image"), inForm(data)), "media_id")
	resp, got := r.raw(getPath, r.with(SampleService, "media_id", id), nil)
	if string(got) != data || resp.Header.Get("Content-Type") != "image/jpeg" || resp.Header.Get("Content-Disposition") != `attachment; filename="`+id+`.jpg"` {
		t.Errorf("got %d bytes with %v, want the %d uploaded", len(got), resp.Header, len(data))
	}
	r.authorized(SampleOfficial, 1, 11)
	r.want(40007, r.do(getPath, r.with(SampleOfficial, "media_id", id), nil))
	r.daysLater()
	r.want(40007, r.do(getPath, r.with(SampleService, "media_id", id), nil))
}

func TestAMaterialStays(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 11)
	id := r.text(r.uploads("/cgi-bin/material/add_material", r.with(SampleService, "type", "image"), inForm("picture")), "media_id")
	r.daysLater()
	if _, got := r.raw("/cgi-bin/material/get_material", r.with(SampleService), object{"media_id": id}); string(got) != "picture" {
		t.Errorf("got %q, want the picture", got)
	}
	video := "--xyz\r\nContent-Disposition: form-data; name=\"description\"\r\n\r\n{\"title\":\"花\",\"introduction\":\"b\"}\r\n" + inForm("film")
	id = r.text(r.uploads("/cgi-bin/material/add_material", r.with(SampleService, "type", "video"), video), "media_id")
	if got := r.text(r.do("/cgi-bin/material/get_material", r.with(SampleService), object{"media_id": id}), "title"); got != "花" {
		t.Errorf("got the title %q", got)
	}
}

func TestOtherFilesOfWeChat(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 1, 11)
	r.want(0, r.uploads("/customservice/kfaccount/uploadheadimg", r.with(SampleService, "kf_account", "test1@test"), inForm("face")))
	r.want(65401, r.uploads("/customservice/kfaccount/uploadheadimg", r.with(SampleService, "kf_account", "x@test"), inForm("face")))
	if got := r.text(r.uploads("/cgi-bin/media/uploadimg", r.with(SampleService), inForm("picture")), "url"); !strings.HasPrefix(got, "http://mmbiz.qpic.cn/") {
		t.Errorf("got %q", got)
	}
	voice := r.AddMedia(SampleService, Media{Type: "voice", Data: []byte("#!AMR")})
	if resp, got := r.raw("/cgi-bin/media/get/jssdk", r.with(SampleService, "media_id", voice), nil); string(got) != "#!AMR" || resp.Header.Get("Content-Type") != "audio/speex" {
		t.Errorf("got %q, %v", got, resp.Header)
	}
	video := r.AddMedia(SampleService, Media{Type: "video", Data: []byte("film")})
	if got := r.text(r.do(getPath, r.with(SampleService, "media_id", video), nil), "video_url"); got == "" {
		t.Error("got no link to the video")
	}
	r.authorized(SampleMiniProgram, 17)
	resp, got := r.raw("/wxa/getwxacodeunlimit", r.with(SampleMiniProgram), object{"scene": "a=1"})
	if !bytes.HasPrefix(got, []byte("\xff\xd8\xff")) || resp.Header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("got %q, %v, want a picture", got, resp.Header)
	}
	r.want(40169, r.do("/wxa/getwxacodeunlimit", r.with(SampleMiniProgram), object{"page": "index"}))
	r.want(61007, r.do("/wxa/getwxacodeunlimit", r.with(SampleService), object{"scene": "a"}))
}

func TestFormsThatWeChatDoesNotUnderstand(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 11)
	const plain = "multipart/form-data; boundary=xyz"
	for name, c := range map[string]struct {
		contentType, body string
		want              int
	}{
		"quoted boundary": {`multipart/form-data; boundary="xyz"`, inForm("a"), 41005},
		"no boundary":     {"multipart/form-data", inForm("a"), 41005},
		"other boundary":  {"multipart/form-data; boundary=abc", inForm("a"), 41005},
		"JSON":            {"application/json", "{}", 41005},
		"no file":         {plain, strings.Replace(inForm("a"), `; filename="a.jpg"`, "", 1), 41005},
		"filename*":       {plain, strings.Replace(inForm("a"), `filename="a.jpg"`, "filename*=UTF-8''a.jpg", 1), 41005},
		"both names":      {plain, strings.Replace(inForm("a"), `filename="a.jpg"`, "filename=\"a.jpg\"; filename*=UTF-8''a.jpg", 1), 41005},
		"another field":   {plain, strings.Replace(inForm("a"), `name="media"`, `name="file"`, 1), 41005},
		"cut":             {plain, inForm("a")[:60], 41005},
		"empty file":      {plain, inForm(""), 44001},
	} {
		_, answer := r.sends(uploadPath, r.with(SampleService, "type", "image"), c.contentType, strings.NewReader(c.body), int64(len(c.body)))
		if got, _ := answer["errcode"].(float64); int(got) != c.want {
			t.Errorf("%s: got %v, want %d", name, answer, c.want)
		}
	}
	r.want(40004, r.uploads(uploadPath, r.with(SampleService, "type", "x"), inForm("a")))
}

func TestChunksAreRefused(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 11)
	body := inForm("a")
	resp, answer := r.sends(uploadPath, r.with(SampleService, "type", "image"), "multipart/form-data; boundary=xyz", strings.NewReader(body), -1)
	if resp.StatusCode != http.StatusPreconditionFailed || answer != nil {
		t.Errorf("got %s and %v, want 412", resp.Status, answer)
	}
}

// The body of an upload is not read before a fault that strikes before.
func TestAnUploadMayBeRefusedEarly(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 11)
	r.Fault(Fault{Path: uploadPath, Code: 45009})
	conn, err := net.Dial("tcp", r.server.Listener.Addr().String())
	r.must(err)
	defer conn.Close()
	r.must(conn.SetDeadline(time.Now().Add(20 * time.Second)))
	_, err = fmt.Fprintf(conn, "POST %s?%s HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=xyz\r\nContent-Length: 100000000\r\n\r\n", uploadPath, r.with(SampleService).Encode())
	r.must(err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	r.must(err)
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), "45009") {
		t.Errorf("got %s, want a refusal before anything was uploaded", text)
	}
}

func TestADownloadCanGoWrong(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 11)
	data := bytes.Repeat([]byte("picture "), 1<<20)
	id := r.AddMedia(SampleService, Media{Type: "image", Data: data})
	for _, wire := range []Wire{CloseHalf, ResetHalf} {
		r.Fault(Fault{Path: getPath, Wire: wire})
		if _, got, err := r.try(getPath, r.with(SampleService, "media_id", id), nil); err == nil || len(got) >= len(data) {
			t.Errorf("%s: got %d bytes and %v, want it cut", wire, len(got), err)
		}
	}
	r.Fault(Fault{Path: getPath, Do: AnswerGzip})
	resp, got := r.raw(getPath, r.with(SampleService, "media_id", id), nil)
	if !resp.Uncompressed || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes with %v, want them compressed for the client to undo", len(got), resp.Header)
	}
}

func TestALargeUploadIsCountedAndForgotten(t *testing.T) {
	r := newRig(t)
	r.authorized(SampleService, 11)
	id := r.text(r.uploads(uploadPath, r.with(SampleService, "type", "video"), inForm(strings.Repeat("x", mostMedia))), "media_id")
	r.want(40007, r.do(getPath, r.with(SampleService, "media_id", id), nil))
	for range mediaKept/mostMedia + 1 {
		r.AddMedia(SampleService, Media{Type: "image", Data: make([]byte, mostMedia)})
	}
	if got := r.library.kept; got > mediaKept {
		t.Errorf("got %d bytes kept, want at most %d", got, mediaKept)
	}
}

func TestFieldLeavesFilesAlone(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Behaviour.Field = true })
	r.must(func() error { _, err := r.Authorize(SampleService, 11); return err }())
	r.SetBehaviour(Behaviour{})
	r.refresh(SampleService)
	r.SetBehaviour(Behaviour{Field: true})
	id := r.AddMedia(SampleService, Media{Type: "image", Data: []byte("{picture")})
	for range 50 {
		if _, got := r.raw(getPath, r.with(SampleService, "media_id", id), nil); string(got) != "{picture" {
			t.Fatalf("got %q, want the file as it is", got)
		}
	}
}
