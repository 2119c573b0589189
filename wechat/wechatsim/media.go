package wechatsim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"wxplatform/wechat"
)

const (
	mediaLife   = 72 * time.Hour // of a temporary file
	mostMedia   = 4 << 20        // of a file that is kept; a larger one is counted and forgotten
	mediaKept   = 64 << 20       // of all files; beyond it the oldest is forgotten
	mostField   = 64 << 10
	codeLink    = "http://mmbiz.qpic.cn/mmbiz/"
	mostScene   = 32
	formContent = "multipart/form-data"
)

var (
	mediaSets    = []wechat.PermissionSet{1, 3, 8, 9, 11, 19, 30, 31, 100}
	materialSets = []wechat.PermissionSet{3, 11, 18, 30, 31, 100}
	codeSets     = []wechat.PermissionSet{17}
)

// mediaTypes are the types of files, with the ending and the content type of one that is fetched.
var mediaTypes = map[string]struct{ ending, content string }{
	"image": {".jpg", "image/jpeg"},
	"voice": {".amr", "audio/amr"},
	"thumb": {".jpg", "image/jpeg"},
	"video": {".mp4", "video/mp4"},
}

// file is an uploaded file, or an answer that is one.
type file struct {
	owner   wechat.AppID
	kind    string // of mediaTypes
	content string
	name    string
	size    int64
	data    []byte    // nil if it was too large to be kept
	until   time.Time // zero if it is permanent
	about   json.RawMessage
}

// library keeps the files of all accounts. It does not check how large they are: tests may upload
// more than WeChat allows.
type library struct {
	mu    sync.Mutex
	seed  uint64
	last  uint64
	files map[string]file
	order []string // oldest first
	kept  int
}

func newLibrary(seed uint64) *library { return &library{seed: seed, files: map[string]file{}} }

func (l *library) apis() []endpoint {
	e := func(method, path string, sets []wechat.PermissionSet, act func(*Sim, *call) (any, error)) endpoint {
		return endpoint{path: path, method: method, needs: ofAuthorizer, sets: sets, act: act, uploads: method == "FORM"}
	}
	all := []endpoint{
		e("FORM", "/cgi-bin/media/upload", mediaSets, l.upload),
		e("FORM", "/cgi-bin/media/uploadimg", mediaSets, l.uploadImage),
		e("GET", "/cgi-bin/media/get", mediaSets, l.get),
		e("GET", "/cgi-bin/media/get/jssdk", mediaSets, l.getVoice),
		e("FORM", "/cgi-bin/material/add_material", materialSets, l.addMaterial),
		e("POST", "/cgi-bin/material/get_material", materialSets, l.getMaterial),
		e("FORM", "/customservice/kfaccount/uploadheadimg", sessionSets, l.uploadHeadImage),
		e("POST", "/wxa/getwxacodeunlimit", codeSets, l.code),
	}
	for i := range all {
		if all[i].uploads {
			all[i].method = http.MethodPost
		}
	}
	return all
}

func (l *library) upload(s *Sim, c *call) (any, error) {
	kind := c.query.Get("type")
	if _, known := mediaTypes[kind]; !known {
		return nil, refuse(40004)
	}
	now := s.now()
	id := l.keep(c.form.file.of(c.account.appID, kind, now.Add(mediaLife)))
	name := "media_id"
	if kind == "thumb" {
		name = "thumb_media_id"
	}
	return map[string]any{"type": kind, name: id, "created_at": now.Unix()}, nil
}

func (l *library) uploadImage(_ *Sim, c *call) (any, error) {
	return map[string]string{"url": codeLink + l.keep(c.form.file.of(c.account.appID, "image", time.Time{})) + "/0"}, nil
}

func (l *library) get(s *Sim, c *call) (any, error) {
	found, err := l.find(c.account.appID, c.query.Get("media_id"), s.now())
	if err != nil || found.kind != "video" {
		return found, err
	}
	return map[string]string{"video_url": "http://203.205.158.83/vweixinp.tc.qq.com/" + c.query.Get("media_id")}, nil
}

func (l *library) getVoice(s *Sim, c *call) (any, error) {
	found, err := l.find(c.account.appID, c.query.Get("media_id"), s.now())
	if err == nil && found.kind != "voice" {
		err = refuse(40007)
	}
	found.content, found.name = "audio/speex", strings.TrimSuffix(found.name, ".amr")+".speex"
	return found, err
}

func (l *library) addMaterial(_ *Sim, c *call) (any, error) {
	kind := c.query.Get("type")
	if _, known := mediaTypes[kind]; !known {
		return nil, refuse(40004)
	}
	added := c.form.file.of(c.account.appID, kind, time.Time{})
	if text := c.form.fields["description"]; kind == "video" {
		if added.about = json.RawMessage(text); !json.Valid(added.about) {
			return nil, refuse(47001)
		}
	}
	id := l.keep(added)
	if kind == "image" || kind == "thumb" {
		return map[string]string{"media_id": id, "url": codeLink + id + "/0"}, nil
	}
	return map[string]string{"media_id": id}, nil
}

func (l *library) getMaterial(s *Sim, c *call) (any, error) {
	found, err := l.find(c.account.appID, c.body.MediaID, s.now())
	if err != nil || found.kind != "video" {
		return found, err
	}
	var about struct{ Title, Introduction string }
	_ = json.Unmarshal(found.about, &about)
	return map[string]string{"title": about.Title, "description": about.Introduction, "down_url": "http://203.205.158.72/vweixinp.tc.qq.com/" + c.body.MediaID}, nil
}

func (l *library) uploadHeadImage(_ *Sim, c *call) (any, error) {
	kf := wechat.KFAccount(c.query.Get("kf_account"))
	if !slices.ContainsFunc(c.account.details().Agents, func(a Agent) bool { return a.KFAccount == kf }) {
		return nil, refuse(65401)
	}
	return okAnswer, nil
}

// code answers with a picture that says nothing: a JPEG's beginning, the scene and a JPEG's end.
func (l *library) code(_ *Sim, c *call) (any, error) {
	if c.body.Scene == "" || len(c.body.Scene) > mostScene {
		return nil, refuse(40169)
	}
	picture := slices.Concat([]byte("\xff\xd8\xff\xe0"), []byte(c.body.Scene), []byte("\xff\xd9"))
	return file{content: "image/jpeg", data: picture}, nil
}

// of returns f as a file of an account.
func (f file) of(owner wechat.AppID, kind string, until time.Time) file {
	f.owner, f.kind, f.until, f.content = owner, kind, until, mediaTypes[kind].content
	return f
}

// keep gives a file an id. While all files are too large together, it forgets the oldest.
func (l *library) keep(f file) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, l.seed), l.last))
	id := base64.RawURLEncoding.EncodeToString(slices.Concat(sum[:], sum[:16]))
	f.name = id + mediaTypes[f.kind].ending
	l.files[id], l.order, l.kept = f, append(l.order, id), l.kept+len(f.data)
	for l.kept > mediaKept {
		l.kept -= len(l.files[l.order[0]].data)
		delete(l.files, l.order[0])
		l.order = l.order[1:]
	}
	return id
}

func (l *library) find(owner wechat.AppID, id string, now time.Time) (file, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, known := l.files[id]
	if !known || f.owner != owner || f.data == nil || !f.until.IsZero() && !now.Before(f.until) {
		return file{}, refuse(40007)
	}
	return f, nil
}

// Media is a file of an account.
type Media struct {
	Type string // image, voice, video or thumb
	Data []byte // of any size
}

// AddMedia gives an account a permanent file, and returns its media_id.
func (s *Sim) AddMedia(id wechat.AppID, m Media) string {
	return s.library.keep(file{data: m.Data, size: int64(len(m.Data))}.of(id, m.Type, time.Time{}))
}

// form is a body of the type multipart/form-data.
type form struct {
	file   file
	fields map[string]string
}

// readForm reads a body as WeChat does: it does not know quoted boundaries and names in filename*.
func readForm(r *http.Request) (form, error) {
	defer func() { _, _ = io.Copy(io.Discard, r.Body) }()
	boundary, found := boundaryOf(r.Header.Get("Content-Type"))
	if !found {
		return form{}, refuse(41005)
	}
	read, parts := form{fields: map[string]string{}}, multipart.NewReader(r.Body, boundary)
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return form{}, refuse(41005)
		}
		if err := read.add(part, r.ContentLength <= mostMedia); err != nil {
			return form{}, err
		}
	}
	switch {
	case read.file.name == "":
		return form{}, refuse(41005)
	case read.file.size == 0:
		return form{}, refuse(44001)
	}
	return read, nil
}

// boundaryOf returns the boundary in a Content-Type. If it is quoted, the quotes belong to it, so
// that the body has no part.
func boundaryOf(contentType string) (string, bool) {
	kind, parameters, _ := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(kind), formContent) {
		return "", false
	}
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if strings.EqualFold(name, "boundary") {
			return value, value != ""
		}
	}
	return "", false
}

// add reads a part. Only the file named media counts.
func (f *form) add(part *multipart.Part, keeps bool) error {
	_, parameters, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || strings.Contains(part.Header.Get("Content-Disposition"), "filename*") {
		return refuse(41005)
	}
	switch name, isFile := parameters["filename"]; {
	case isFile && parameters["name"] == "media":
		f.file.name = path.Base(name)
		err = f.file.fill(part, keeps)
	case !isFile:
		var text []byte
		text, err = io.ReadAll(io.LimitReader(part, mostField))
		f.fields[parameters["name"]] = string(text)
	}
	if err != nil {
		return refuse(41005)
	}
	return nil
}

func (f *file) fill(from io.Reader, keeps bool) (err error) {
	if !keeps {
		f.size, err = io.Copy(io.Discard, from)
		return err
	}
	f.data, err = io.ReadAll(from)
	f.size = int64(len(f.data))
	return err
}
