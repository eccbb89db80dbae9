package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// A local cluster lives for hours; a year keeps clocks and reuse out of the way.
const validity = 365 * 24 * time.Hour

// newPKICommand makes the certificates and kubeconfigs of one cluster in one folder:
// ca.{crt,key}, serving.{crt,key}, sa.{key,pub} and one kubeconfig a person.
func newPKICommand() *cobra.Command {
	command := &cobra.Command{Use: "pki", Short: "make certificates and kubeconfigs", SilenceUsage: true}
	command.AddCommand(
		&cobra.Command{
			Use:   "init DIR",
			Short: "create what is missing of the CA, the serving certificate and the service account key",
			Args:  cobra.ExactArgs(1),
			RunE:  func(_ *cobra.Command, args []string) error { return initPKI(args[0]) },
		},
		&cobra.Command{
			Use:   "kubeconfig DIR SERVER NAME [GROUP...]",
			Short: "print a kubeconfig with a new client certificate",
			Args:  cobra.MinimumNArgs(3),
			RunE: func(_ *cobra.Command, args []string) error {
				return printKubeconfig(args[0], args[1], args[2], args[3:])
			},
		},
		&cobra.Command{
			Use:   "ports COUNT",
			Short: "print loopback ports that are free and that the kernel gives to nobody, one a line",
			Args:  cobra.ExactArgs(1),
			RunE:  func(_ *cobra.Command, args []string) error { return printPorts(args[0]) },
		},
	)
	return command
}

func initPKI(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "sa.pub")); err == nil {
		return nil // written last, so everything else is there
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	caKey, err := newKey()
	if err != nil {
		return err
	}
	ca := template("mayday-dev-ca")
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	servingKey, err := newKey()
	if err != nil {
		return err
	}
	serving := template("kube-apiserver")
	serving.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)}
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, ca, servingKey.Public(), caKey)
	if err != nil {
		return err
	}
	saKey, err := newKey()
	if err != nil {
		return err
	}
	saPublic, err := x509.MarshalPKIXPublicKey(saKey.Public())
	if err != nil {
		return err
	}
	files := []struct {
		name string
		make func() ([]byte, error)
	}{
		{"ca.key", func() ([]byte, error) { return keyPEM(caKey) }},
		{"ca.crt", func() ([]byte, error) { return blockPEM("CERTIFICATE", caDER), nil }},
		{"serving.key", func() ([]byte, error) { return keyPEM(servingKey) }},
		{"serving.crt", func() ([]byte, error) { return blockPEM("CERTIFICATE", servingDER), nil }},
		{"sa.key", func() ([]byte, error) { return keyPEM(saKey) }},
		{"sa.pub", func() ([]byte, error) { return blockPEM("PUBLIC KEY", saPublic), nil }},
	}
	for _, file := range files {
		content, err := file.make()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file.name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func printKubeconfig(dir, server, name string, groups []string) error {
	caPEM, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return err
	}
	caKeyPEM, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		return err
	}
	caBlock, _ := pem.Decode(caPEM)
	keyBlock, _ := pem.Decode(caKeyPEM)
	if caBlock == nil || keyBlock == nil {
		return errors.New("the CA in " + dir + " is not PEM")
	}
	ca, err := x509.ParseCertificate(caBlock.Bytes)
	if err != nil {
		return err
	}
	caKey, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	client := template(name)
	client.Subject.Organization = groups
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, client, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	clientKey, err := keyPEM(key)
	if err != nil {
		return err
	}
	encode := base64.StdEncoding.EncodeToString
	fmt.Printf(`apiVersion: v1
kind: Config
current-context: mayday
clusters:
- name: mayday
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %q
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: mayday
  context: {cluster: mayday, user: %q}
`, server, encode(caPEM), name, encode(blockPEM("CERTIFICATE", der)), encode(clientKey), name)
	return nil
}

// Linux hands out ports from 32768 on by itself. A kept port from there could be taken while its owner is down.
const firstPort, lastPort = 20000, 32000

// blockSize is how many ports lie together, of which one cluster has all. The first that is bound keeps the others
// from being chosen again, also those that are bound only minutes later.
const blockSize = 16

// printPorts prints the first ports of a block that is free as a whole.
func printPorts(count string) error {
	var wanted int
	if _, err := fmt.Sscan(count, &wanted); err != nil || wanted < 1 || wanted > blockSize {
		return fmt.Errorf("COUNT must be a number from 1 to %d", blockSize)
	}
	// Random order: two clusters that choose at once rarely meet.
	for _, block := range mathrand.Perm((lastPort - firstPort) / blockSize) {
		first := firstPort + block*blockSize
		if !isFree(first) {
			continue // somebody has it
		}
		for port := first; port < first+wanted; port++ {
			fmt.Println(port)
		}
		return nil
	}
	return fmt.Errorf("no %d free ports in a row between %d and %d", blockSize, firstPort, lastPort)
}

// isFree says whether nobody listens on any port of the block.
func isFree(first int) bool {
	for port := first; port < first+blockSize; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		defer listener.Close()
	}
	return true
}

func template(commonName string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail on a working machine
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func newKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func blockPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return blockPEM("PRIVATE KEY", der), nil
}
