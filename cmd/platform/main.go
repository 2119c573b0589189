// Command platform serves a multi-tenant proxy for WeChat's third-party platform, and has the
// operator's commands for it. `platform --help` lists them.
//
// serve and the commands need the database to start. A running serve goes on without the database,
// Redis or WeChat as docs/design.md, "Redis or SQL down" describes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// cli lists the program's commands. Each is in a file of its own.
type cli struct {
	Serve      serveCmd      `cmd:"" help:"Serve tenants, WeChat and merchants' browsers. 启动服务。"`
	Ready      readyCmd      `cmd:"" help:"Ask a running platform whether it is ready, for health checks. 健康检查。"`
	Demo       demoCmd       `cmd:"" help:"Run the platform and a simulated WeChat in one process and walk through every step. 演示：无需任何配置。"`
	Migrate    migrateCmd    `cmd:"" help:"Migrate the database's tables; serve does so too. 升级数据库表。"`
	Keygen     keygenCmd     `cmd:"" help:"Print a new sealing key for PLATFORM_SEALING_KEYS. 生成加密主密钥。"`
	Tenant     tenantCmd     `cmd:"" help:"Manage tenants: create, list, show, suspend, resume. 租户管理。"`
	Client     clientCmd     `cmd:"" help:"Manage a tenant's clients: create, list, set, rotate, revoke. 租户的客户端管理。"`
	Key        keyCmd        `cmd:"" help:"Manage the keys that sign JWTs, and list sealing keys. JWT 签名密钥管理。"`
	Authorizer authorizerCmd `cmd:"" help:"Manage authorizers: list, show, refresh, move. 授权方管理。"`
	API        apiCmd        `cmd:"" help:"Show the catalogue of WeChat's APIs: list, show; and the OpenAPI document. 微信接口目录与 OpenAPI 文档。"`
	Reseal     resealCmd     `cmd:"" help:"Re-encrypt everything in SQL under the newest sealing key, while the platform runs. 用最新的加密主密钥重新加密数据库中的密文。"`
	Doctor     doctorCmd     `cmd:"" help:"Check configuration, database, Redis, ticket, WeChat and callbacks, and say how to fix what is wrong. 体检：逐项检查并给出处理办法。"`
	Reconcile  reconcileCmd  `cmd:"" help:"Compare with WeChat's list of authorizers, and add those that are missing here. 与微信的授权方列表对账。"`
	Audit      auditCmd      `cmd:"" help:"Show who changed what: list, follow. 审计记录。"`
	Completion completionCmd `cmd:"" help:"Print a script with which a shell completes commands and flags: bash, zsh, fish. 输出 shell 的命令补全脚本。"`
	Version    versionCmd    `cmd:"" help:"Print the version. 版本信息。"`
	Help       helpCmd       `cmd:"" help:"More help: config. 更多帮助：config（全部设置）。"`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version. 版本信息。"`
}

// shell is what a command gets from its caller: a context, where to print, and the environment.
// Tests give their own.
type shell struct {
	ctx    context.Context
	out    io.Writer
	errOut io.Writer
	lookup func(string) (string, bool)
	// environ lists all variables, as os.Environ does.
	environ func() []string
}

func main() {
	ctx, release := untilStopped(context.Background())
	code := run(shell{ctx, os.Stdout, os.Stderr, os.LookupEnv, os.Environ}, os.Args[1:])
	release()
	os.Exit(code)
}

// run runs the command in args and returns the exit status: 0 on success, 2 for wrong arguments,
// 130 after Ctrl-C and 143 after SIGTERM unless the command finished, and 1 for any other failure.
func run(s shell, args []string) int {
	var commands cli
	exit := -1
	parser, err := kong.New(&commands, kong.Name("platform"), kong.UsageOnError(),
		kong.Writers(s.out, s.errOut), kong.Exit(func(code int) { exit = code }),
		kong.Description("wxplatform: call WeChat on behalf of merchants through one third-party platform.\nwxplatform：通过一个第三方平台代商家调用微信。"),
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
		_, _ = fmt.Fprintf(s.errOut, "platform: %s\n", explainMisuse(err))
		return 2
	}
	if err := parsed.Run(s); err != nil {
		return fail(s, err)
	}
	return 0
}

// fail prints why a command failed. If it was told to stop, its error only says what it was doing.
func fail(s shell, err error) int {
	if by, is := stopOf(s.ctx); is {
		_, _ = fmt.Fprintln(s.errOut, "platform: stopped. 已停止")
		return by.status()
	}
	if errors.Is(err, errSilent) {
		return 1
	}
	_, _ = fmt.Fprintf(s.errOut, "platform: %v\n", err)
	if do := writesRemedy(err); do != (text{}) {
		_, _ = fmt.Fprintf(s.errOut, "  → %s\n  → %s\n", do.en, do.zh)
	}
	return 1
}

// errSilent makes a command fail that has already printed why.
var errSilent = errors.New("failed")

type helpCmd struct {
	Config helpConfigCmd `cmd:"" help:"All settings, their defaults and meanings. 全部设置。"`
}

type helpConfigCmd struct{}

// Run prints the settings.
func (helpConfigCmd) Run(s shell) error { return printSettings(s.out) }
