// One binary for every part of the local control plane, so that it links once:
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl,
// chosen by the first argument, pki, which makes the certificates, and get, which reads a URL.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
	"pki":                     newPKICommand,
	"get":                     newGetCommand,
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl|pki|get ...")
		os.Exit(2)
	}
	part := os.Args[1]
	if part == "etcd" {
		etcdmain.Main(os.Args[1:])
		return
	}
	command, known := commands[part]
	if !known {
		fmt.Fprintf(os.Stderr, "controlplane: no part %q\n", part)
		os.Exit(2)
	}
	// Each part parses os.Args itself, and must see only its own.
	os.Args = os.Args[1:]
	os.Exit(cli.Run(command()))
}
