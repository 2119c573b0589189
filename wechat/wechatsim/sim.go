package wechatsim

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"wxplatform/wechat"
)

// Sim simulates WeChat for one component. It is an http.Handler that serves WeChat's API, the
// consent pages and, under /_sim/, its own control API. It is safe for concurrent use.
type Sim struct {
	config     Config    // as given to New; what can change is below
	codes      mint      // encodes and decodes tokens and codes
	started    time.Time // by its own clock
	apis       map[string]endpoint
	library    *library
	client     *http.Client // pushes
	agedClient *http.Client // pushes over HTTP/1.0
	control    http.Handler
	life       context.Context // ends with Close
	end        context.CancelFunc
	pushSlot   chan struct{} // limits the pushes in flight
	pushing    sync.WaitGroup

	mu sync.Mutex // guards everything below

	secret         string
	envelope       *wechat.Envelope
	allowedIPs     map[string]bool // nil means all
	behaviour      Behaviour
	quotas         map[string]Quota
	ticketsStopped bool
	random         *rand.Rand

	componentTokens chain  // the newest component token and those that it replaced
	componentMeter  meter  // counts the component's calls, for its quotas
	lastNumber      uint64 // of the tokens and codes issued so far
	oddAnswers      uint64 // how many answers were made odd, with Behaviour.Field
	oddPushes       uint64
	preAuthCodes    shelf[preAuth]
	authCodes       shelf[auth]
	loginCodes      shelf[login]
	userLogins      shelf[login]     // users' access tokens
	userRefreshes   map[uint64]login // users' refresh tokens
	lastLogin       userTokens

	accounts   []*account              // by place; nil is a synthetic account that was not used yet
	places     map[wechat.AppID]uint32 // the index of each account in accounts
	synthetic  []uint32                // the places of the synthetic accounts
	authorized []uint32                // places, in the order of api_get_authorizer_list

	queues     map[wechat.AppID]*accountQueue // pushes to come
	queued     int                            // how many pushes are in queues
	idle       chan struct{}                  // closed when the last queue is empty
	held       map[wechat.AppID][]*push       // pushes that a fault holds back
	lastMsgID  uint64
	pushFaults []*PushFault
	faults     []*Fault
	menus      map[wechat.AppID]json.RawMessage // the buttons of each account's menu
	remarks    map[fan]string                   // what accounts noted about customers

	counts   map[string]int // calls by path
	callLog  ring[Call]
	pushLog  ring[PushRecord]
	messages ring[Message]
}

// New returns a simulator. It fails only if the component's token or AES key is malformed.
func New(config Config) (*Sim, error) {
	config = config.withDefaults()
	envelope, err := wechat.NewEnvelope(config.AppID, []string{config.Token}, []string{config.AESKey})
	if err != nil {
		return nil, err
	}
	files := newLibrary(config.Seed)
	s := &Sim{
		config:        config,
		codes:         mint{config.Seed},
		started:       config.Now(),
		apis:          endpoints(files),
		library:       files,
		client:        newPushClient(config.Times.PushTimeout),
		agedClient:    newAgedClient(config.Times.PushTimeout),
		pushSlot:      make(chan struct{}, maxPushesInFlight),
		secret:        config.Secret,
		envelope:      envelope,
		behaviour:     config.Behaviour,
		quotas:        defaultQuotas(config.Quotas),
		random:        rand.New(rand.NewPCG(config.Seed, 1)),
		places:        map[wechat.AppID]uint32{},
		menus:         map[wechat.AppID]json.RawMessage{},
		userRefreshes: map[uint64]login{},
		remarks:       map[fan]string{},
		queues:        map[wechat.AppID]*accountQueue{},
		held:          map[wechat.AppID][]*push{},
		counts:        map[string]int{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.control = s.controlRoutes()
	s.SetAllowedIPs(config.AllowedIPs...)
	if !config.NoSamples {
		s.addSamples()
	}
	return s, nil
}

// Config returns the configuration with all defaults filled.
func (s *Sim) Config() Config { return s.config }

// Run pushes a ticket now and every Times.TicketInterval, until ctx ends or Close is called.
func (s *Sim) Run(ctx context.Context) error {
	if s.config.Times.TicketInterval <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(s.config.Times.TicketInterval)
	defer tick.Stop()
	for {
		s.pushDueTicket()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case <-s.life.Done():
			return nil
		}
	}
}

// Close drops what is not yet pushed, ends every delayed answer, and waits for its goroutines.
func (s *Sim) Close() {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	s.pushing.Wait()
	s.client.CloseIdleConnections()
	s.agedClient.CloseIdleConnections()
}

// ServeHTTP answers as api.weixin.qq.com, mp.weixin.qq.com and open.weixin.qq.com do.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/_sim/"):
		s.control.ServeHTTP(w, r)
	case consentPaths[path]:
		s.serveConsent(w, r)
	case path == authorizePath:
		s.serveAuthorize(w, r)
	default:
		s.serveAPI(w, r)
	}
}

// SetSecret changes the component's secret. The old one is refused at once with 40125.
func (s *Sim) SetSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
}

// SetEnvelope changes the token and the AES key that pushes are signed and encrypted with from now
// on.
func (s *Sim) SetEnvelope(token, aesKey string) error {
	envelope, err := wechat.NewEnvelope(s.config.AppID, []string{token}, []string{aesKey})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envelope = envelope
	return nil
}

// SetAllowedIPs replaces the addresses that may call. None means all.
func (s *Sim) SetAllowedIPs(addresses ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowedIPs = nil
	for _, address := range addresses {
		if s.allowedIPs == nil {
			s.allowedIPs = map[string]bool{}
		}
		s.allowedIPs[address] = true
	}
}

// Behaviour returns the current behaviour.
func (s *Sim) Behaviour() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behaviour
}

// SetBehaviour changes the behaviour.
func (s *Sim) SetBehaviour(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// nextNumber numbers a new token or code. The caller holds the lock.
func (s *Sim) nextNumber() uint64 {
	s.lastNumber++
	return s.lastNumber
}
