// Command platform acts for WeChat merchants: a multi-tenant proxy for WeChat's third-party platform. `platform --help` lists what it does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/alecthomas/kong"
)

// cli is the program's commands; each has a file of its own.
type cli struct {
	Serve      serveCmd      `cmd:"" help:"Serve tenants, WeChat and merchants' browsers. 启动服务。"`
	Ready      readyCmd      `cmd:"" help:"Ask a running platform whether it is ready, for health checks. 健康检查。"`
	Demo       demoCmd       `cmd:"" help:"Run everything in one process with a simulated WeChat and tell the story. 演示：无需任何配置。"`
	Migrate    migrateCmd    `cmd:"" help:"Bring the database's tables up to date; serve does it too. 升级数据库表。"`
	Keygen     keygenCmd     `cmd:"" help:"Print a new sealing key for PLATFORM_SEALING_KEYS. 生成封存密钥。"`
	Tenant     tenantCmd     `cmd:"" help:"Tenants: create, list, show, suspend, resume. 租户管理。"`
	Client     clientCmd     `cmd:"" help:"A tenant's clients: create, list, revoke. 租户的凭证管理。"`
	Key        keyCmd        `cmd:"" help:"Signing keys of JWTs: list, rotate, revoke. JWT 签名密钥管理。"`
	Authorizer authorizerCmd `cmd:"" help:"Authorizers: list, show, refresh, move. 授权方管理。"`
	Reseal     resealCmd     `cmd:"" help:"Move everything in SQL to the newest sealing key, while the platform runs. 将数据库中的密文换到最新的封存密钥。"`
	Doctor     doctorCmd     `cmd:"" help:"Check configuration, database, Redis, ticket, WeChat and callbacks, and say what to do. 体检：逐项检查并给出处理办法。"`
	Reconcile  reconcileCmd  `cmd:"" help:"Compare with WeChat's list of authorizers; keep those that are missing here. 与微信的授权方列表对账。"`
	Version    versionCmd    `cmd:"" help:"Print which build this is. 版本信息。"`
	Help       helpCmd       `cmd:"" help:"More help: config. 更多帮助：config（全部设置）。"`

	ShowVersion kong.VersionFlag `name:"version" help:"Print which build this is."`
}

// stage is what a command may touch; in tests it is not the process's own.
type stage struct {
	ctx    context.Context
	out    io.Writer
	errOut io.Writer
	lookup func(string) (string, bool)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(stage{ctx, os.Stdout, os.Stderr, os.LookupEnv}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run is the whole program: its exit status is 0 when the command did what it says, 2 when it was called wrongly, 1 otherwise.
func run(s stage, args []string) int {
	var commands cli
	exit := -1
	parser, err := kong.New(&commands, kong.Name("platform"), kong.UsageOnError(), kong.Writers(s.out, s.errOut), kong.Exit(func(code int) { exit = code }),
		kong.Description("wxplatform: act for WeChat merchants through one third-party platform.\nwxplatform：通过一个第三方平台代商家调用微信。"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Vars{"version": currentVersion().String()})
	if err != nil {
		return fail(s, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		_, _ = fmt.Fprintf(s.errOut, "platform: %v (see `platform --help`)\n", err)
		return 2
	}
	if err := parsed.Run(s); err != nil {
		return fail(s, err)
	}
	return 0
}

func fail(s stage, err error) int {
	if !errors.Is(err, errSilent) {
		_, _ = fmt.Fprintf(s.errOut, "platform: %v\n", err)
	}
	return 1
}

// errSilent fails a command that has said why already.
var errSilent = errors.New("failed")

// format is how a command prints: a table for people, JSON for programs.
type format struct {
	JSON bool `name:"json" help:"Print JSON, for programs. 输出 JSON。"`
}

// print writes v as JSON, or the table.
func (f format) print(out io.Writer, v any, heading string, rows []string) error {
	if f.JSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(v)
	}
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, heading)
	for _, row := range rows {
		_, _ = fmt.Fprintln(table, row)
	}
	return table.Flush()
}

type helpCmd struct {
	Config helpConfigCmd `cmd:"" help:"All settings, their defaults and meanings. 全部设置。"`
}

type helpConfigCmd struct{}

// Run prints the settings.
func (helpConfigCmd) Run(s stage) error { return printSettings(s.out) }
