// Command wechatsim serves a simulated WeChat for tests. See package wechatsim for what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"wxplatform/wechat"
	"wxplatform/wechat/wechatsim"
)

type flags struct {
	Listen     string `help:"Address to serve. Its control API has no password." default:"127.0.0.1:9080"`
	EventURL   string `help:"Receives the component's events: tickets and authorizations." placeholder:"URL"`
	MessageURL string `help:"Receives messages; $$APPID$$ in it becomes the account's appid." placeholder:"URL"`

	AppID  string `name:"appid" help:"The component's appid." env:"PLATFORM_COMPONENT_APPID"`
	Secret string `help:"Its secret." env:"PLATFORM_COMPONENT_SECRET"`
	Token  string `help:"Signs pushes. If there are several, separated by commas, the first one counts." env:"PLATFORM_COMPONENT_TOKEN"`
	AESKey string `help:"Encrypts pushes. If there are several, separated by commas, the first one counts." env:"PLATFORM_COMPONENT_AES_KEY"`

	AllowedIP []string            `help:"An address that may call; none means all."`
	StartPage string              `help:"Registered host of the page that links to the consent page; if empty, any host that equals redirect_uri's."`
	Fault     []jsonFault         `help:"A fault from the start, in the form of POST /_sim/faults." placeholder:"JSON" sep:"none"`
	Synthetic int                 `help:"How many synthetic authorized accounts to add."`
	Field     bool                `help:"Make everything odd in the ways that real platforms met: numbers as text, names with control bytes, short pages, connections that end unannounced."`
	NoSamples bool                `help:"Start without the sample accounts."`
	Seed      uint64              `help:"Issue the same tokens as another run with this seed; 0 picks one."`
	Times     wechatsim.Times     `embed:"" prefix:"time-"`
	Behaviour wechatsim.Behaviour `embed:"" prefix:"with-"`
}

// jsonFault is a fault as a flag.
type jsonFault struct{ wechatsim.Fault }

func (f *jsonFault) UnmarshalText(text []byte) error { return f.UnmarshalJSON(text) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "wechatsim:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	f, err := parse(args, out)
	if err != nil || f == nil {
		return err
	}
	sim, err := f.simulator()
	if err != nil {
		return err
	}
	defer sim.Close()
	listener, err := net.Listen("tcp", f.Listen)
	if err != nil {
		return err
	}
	f.explain(out, sim.Config(), "http://"+reachable(listener.Addr()))
	return serve(ctx, sim, listener)
}

// parse returns nil and no error if help was asked for.
func parse(args []string, out io.Writer) (*flags, error) {
	f, helped := &flags{}, false
	parser, err := kong.New(f,
		kong.Name("wechatsim"),
		kong.Description("A WeChat that runs on your machine, for testing third-party platforms.\n\nEach PLATFORM_COMPONENT_… may also be the name of a file, in PLATFORM_COMPONENT_…_FILE."),
		kong.Help(help),
		kong.Writers(out, out),
		kong.Exit(func(int) { helped = true }))
	if err != nil {
		return nil, err
	}
	_, err = parser.Parse(args)
	if helped {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w (see wechatsim --help)", err)
	}
	return f, errors.Join(f.readFiles(), f.check())
}

// check finds mistakes that would otherwise only show as pushes that never arrive, or as a platform
// that does not start.
func (f *flags) check() error {
	var faults []error
	for name, text := range map[string]string{"event-url": f.EventURL, "message-url": f.MessageURL} {
		if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			faults = append(faults, fmt.Errorf("--%s is not an http or https URL", name))
		}
	}
	if f.AppID != "" && !wechat.AppID(f.AppID).Plausible() {
		faults = append(faults, errors.New("--appid is not valid: it must be wx and 16 letters and digits"))
	}
	return errors.Join(faults...)
}

// help prints the control API below the flags.
func help(options kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(ctx.Stdout, "\nControl API:\n\n%s", wechatsim.ControlHelp())
	return err
}

// readFiles fills what was given neither as a flag nor in the environment.
func (f *flags) readFiles() error {
	for name, value := range map[string]*string{
		"PLATFORM_COMPONENT_APPID_FILE":   &f.AppID,
		"PLATFORM_COMPONENT_SECRET_FILE":  &f.Secret,
		"PLATFORM_COMPONENT_TOKEN_FILE":   &f.Token,
		"PLATFORM_COMPONENT_AES_KEY_FILE": &f.AESKey,
	} {
		path := os.Getenv(name)
		if *value != "" || path == "" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*value = strings.TrimSpace(string(content))
	}
	return nil
}

func (f *flags) simulator() (*wechatsim.Sim, error) {
	behaviour := f.Behaviour
	behaviour.Field = f.Field
	sim, err := wechatsim.New(wechatsim.Config{
		AppID: wechat.AppID(f.AppID), Secret: f.Secret, Token: newest(f.Token), AESKey: newest(f.AESKey),
		EventURL: f.EventURL, MessageURL: f.MessageURL,
		StartPageHost: f.StartPage, AllowedIPs: f.AllowedIP,
		Times: f.Times, Behaviour: behaviour, NoSamples: f.NoSamples, Seed: f.Seed,
	})
	if err != nil {
		return nil, err
	}
	for _, fault := range f.Fault {
		sim.Fault(fault.Fault)
	}
	sim.AddSynthetic(f.Synthetic)
	return sim, nil
}

func newest(values string) string {
	first, _, _ := strings.Cut(values, ",")
	return strings.TrimSpace(first)
}

// reachable returns an address at which a listener is reached from this machine, even if it listens
// on all.
func reachable(listening net.Addr) string {
	if tcp, ok := listening.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return listening.String()
}

// explain shows the credentials only if they are the public defaults.
func (f *flags) explain(out io.Writer, c wechatsim.Config, base string) {
	fmt.Fprintf(out, "WeChat simulator at %s, component %s.\n", base, c.AppID)
	if f.EventURL == "" {
		fmt.Fprintln(out, "Nothing is pushed: give --event-url and --message-url.")
	}
	fmt.Fprintf(out, "Start the platform with\n  export PLATFORM_WECHAT_URL=%s PLATFORM_WECHAT_CONSENT_URL=%s\n", base, base)
	if c.Secret == wechatsim.DefaultSecret {
		fmt.Fprintf(out, "  export PLATFORM_COMPONENT_APPID=%s PLATFORM_COMPONENT_SECRET=%s\n  export PLATFORM_COMPONENT_TOKEN=%s PLATFORM_COMPONENT_AES_KEY=%s\n", c.AppID, c.Secret, c.Token, c.AESKey)
	}
	fmt.Fprintf(out, "Control it with:\n  curl %s/_sim/\n", base)
}

func serve(ctx context.Context, sim *wechatsim.Sim, listener net.Listener) error {
	server := &http.Server{Handler: sim, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return sim.Run(ctx) })
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		sim.Close()
		return server.Close() // Shutdown would wait for connections without a request, which faults leave open
	})
	return group.Wait()
}
