package wechatsim

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
)

// reply is an HTTP answer before it is written.
type reply struct {
	status int
	header http.Header // a field without values is left out, even if net/http would add it
	body   []byte
	raw    bool // body is sent instead of an HTTP answer
}

// jsonType is WeChat's own content type (docs/wechat.md, "Hosts and time-outs").
const jsonType = "application/json; encoding=utf-8"

func (s *Sim) newReply(status int, contentType string, body []byte) reply {
	return reply{status: status, header: http.Header{"Content-Type": {contentType}, "Date": {s.date()}}, body: body}
}

// answers returns a reply with status 200: WeChat refuses in the body.
func (s *Sim) answers(a answer) reply {
	r := s.newReply(http.StatusOK, cmp.Or(a.contentType, jsonType), a.body)
	if a.fileName != "" {
		r.header.Set("Content-Disposition", `attachment; filename="`+a.fileName+`"`)
	}
	return r
}

const gatewayPage = "<html><head><title>%d</title></head><body><center><h1>%d</h1></center><hr><center>nginx</center></body></html>\n"

func (s *Sim) gatewayPage(status int) reply {
	return s.newReply(status, "text/html", fmt.Appendf(nil, gatewayPage, status, status))
}

// changed returns r with other header fields, and without those whose value is empty.
func (r reply) changed(header map[string]string) reply {
	for name, value := range header {
		name = http.CanonicalHeaderKey(name)
		r.header[name] = nil
		if value != "" {
			r.header[name] = []string{value}
		}
	}
	return r
}

// zipped returns r compressed, as from a front end that does so unasked.
func (r reply) zipped() reply {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(r.body)
	_ = z.Close()
	r.body = b.Bytes()
	return r.changed(map[string]string{"Content-Encoding": "gzip"})
}

// write writes it through net/http.
func (r reply) write(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body)
}

// bytes returns what is sent over the connection.
func (r reply) bytes() []byte {
	if r.raw {
		return r.body
	}
	b := bytes.NewBuffer(fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status)))
	if r.header["Content-Length"] == nil && r.header["Transfer-Encoding"] == nil {
		r.header.Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	_ = r.header.Write(b)
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

// faulty returns what a fault answers. truth is the true answer, if WeChat carried out the call.
func (s *Sim) faulty(f *Fault, truth reply) reply {
	switch f.Do {
	case AnswerCode:
		return s.answers(s.refusalAnswer(&Refusal{Code: f.Code}))
	case AnswerStatus:
		return s.gatewayPage(f.Status)
	case AnswerHTML:
		return s.gatewayPage(http.StatusOK)
	case AnswerEmpty:
		return s.newReply(http.StatusOK, "", nil).changed(map[string]string{"Content-Type": ""})
	case AnswerBody:
		return s.newReply(cmp.Or(f.Status, http.StatusOK), jsonType, []byte(f.Body)).changed(f.Header)
	case AnswerRaw:
		return reply{body: []byte(f.Body), raw: true}
	case AnswerGzip:
		return truth.zipped()
	case AnswerEdited:
		truth.body = edited(truth.body, f.Set, f.Drop)
		return truth.changed(f.Header)
	}
	return truth
}
