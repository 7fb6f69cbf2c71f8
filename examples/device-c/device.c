/* A device that asks for its certificate, publishes with it, and renews it: mbedTLS 2.28 or 3, and nothing else.
 *
 *     device enrol   FOLDER HUB PORT CA.pem TOKEN [SERIAL]
 *     device publish FOLDER HOST TOPIC PAYLOAD      HOST: - for the one that hub has told
 *     device renew   FOLDER HUB PORT CA.pem
 *
 * On a board replace `load` and `save` (files), mbedtls_net_* (sockets) and `sleep`. Exit codes: 0 done, 1 failed,
 * 3 too early to renew.
 *
 * FOLDER: identity.pem (private key and certificate, replaced as a whole), next.key (the key that is asked for, until
 * its certificate is there: a lost answer is asked for again with the same key), id, broker, broker.pem.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mbedtls/base64.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/md.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#include <psa/crypto.h>
#endif
#include <mbedtls/x509_csr.h>

enum { MOST = 16 * 1024, PATH_MOST = 512, KEEP_ALIVE = 60, TOO_EARLY = 3 };

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context chance;
static const char *folder;

static void die(const char *format, ...) {
    va_list more;
    va_start(more, format);
    vfprintf(stderr, format, more);
    va_end(more);
    fputc('\n', stderr);
    exit(1);
}

static void need(int result, const char *what) {
    char words[160];
    if (result >= 0) return;
    mbedtls_strerror(result, words, sizeof words);
    die("%s: %s", what, words);
}

/* ---- what is kept: on a board, flash ---- */

static const char *path_of(const char *name) {
    static char path[PATH_MOST];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) die("%s: too long", folder);
    return path;
}

static int load(const char *name, char *text) { /* whether it is there */
    FILE *file = fopen(path_of(name), "rb");
    size_t length;
    if (file == NULL) return 0;
    length = fread(text, 1, MOST - 1, file);
    fclose(file);
    text[length] = '\0';
    return 1;
}

static void save(const char *name, const char *text) { /* as a whole or not at all */
    char fresh[PATH_MOST];
    FILE *file;
    int handle;
    snprintf(fresh, sizeof fresh, "%s.XXXXXX", path_of(name));
    handle = mkstemp(fresh); /* mode 0600 */
    file = handle < 0 ? NULL : fdopen(handle, "wb");
    if (file == NULL || fputs(text, file) < 0 || fflush(file) != 0 || fsync(handle) != 0 || fclose(file) != 0 ||
        rename(fresh, path_of(name)) != 0)
        die("%s: can't be written", path_of(name));
}

/* ---- keys ---- */

static void parse_key(mbedtls_pk_context *key, const char *pem) {
    const unsigned char *text = (const unsigned char *)pem;
    mbedtls_pk_init(key);
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    need(mbedtls_pk_parse_key(key, text, strlen(pem) + 1, NULL, 0, mbedtls_ctr_drbg_random, &chance), "private key");
#else
    need(mbedtls_pk_parse_key(key, text, strlen(pem) + 1, NULL, 0), "private key");
#endif
}

static void next_key(char *pem) { /* the one that was made and not used yet, or a new one */
    mbedtls_pk_context key;
    if (load("next.key", pem)) return;
    mbedtls_pk_init(&key);
    need(mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), "new key");
    need(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), mbedtls_ctr_drbg_random, &chance), "new key");
    need(mbedtls_pk_write_key_pem(&key, (unsigned char *)pem, MOST), "new key");
    mbedtls_pk_free(&key);
    save("next.key", pem);
}

static void request_of(const char *pem, char *csr) {
    mbedtls_x509write_csr request;
    mbedtls_pk_context key;
    parse_key(&key, pem);
    mbedtls_x509write_csr_init(&request);
    mbedtls_x509write_csr_set_md_alg(&request, MBEDTLS_MD_SHA256);
    mbedtls_x509write_csr_set_key(&request, &key);
    need(mbedtls_x509write_csr_set_subject_name(&request, "CN=device"), "request"); /* hub sets the name itself */
    need(mbedtls_x509write_csr_pem(&request, (unsigned char *)csr, MOST, mbedtls_ctr_drbg_random, &chance), "request");
    mbedtls_x509write_csr_free(&request);
    mbedtls_pk_free(&key);
}

static void sign(const char *pem, const char *text, char *signature) { /* ECDSA with SHA-256, in base64 */
    unsigned char hash[32], der[160];
    size_t length, written;
    mbedtls_pk_context key;
    parse_key(&key, pem);
    need(mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), (const unsigned char *)text, strlen(text), hash), "hash");
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    need(mbedtls_pk_sign(&key, MBEDTLS_MD_SHA256, hash, sizeof hash, der, sizeof der, &length, mbedtls_ctr_drbg_random,
                         &chance), "signature");
#else
    need(mbedtls_pk_sign(&key, MBEDTLS_MD_SHA256, hash, sizeof hash, der, &length, mbedtls_ctr_drbg_random, &chance),
         "signature");
#endif
    need(mbedtls_base64_encode((unsigned char *)signature, 256, &written, der, length), "signature");
    mbedtls_pk_free(&key);
}

/* ---- TLS ---- */

typedef struct {
    mbedtls_net_context net;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_x509_crt trusted, own;
    mbedtls_pk_context key;
} Connection;

/* `trusted`: the authority in PEM. `identity`: key and certificate in PEM, or NULL. mbedTLS before 3.5 knows no IP
 * addresses in certificates: give `host` as a name. */
static void open_tls(Connection *it, const char *host, const char *port, const char *trusted, const char *identity) {
    mbedtls_net_init(&it->net);
    mbedtls_ssl_init(&it->ssl);
    mbedtls_ssl_config_init(&it->config);
    mbedtls_x509_crt_init(&it->trusted);
    mbedtls_x509_crt_init(&it->own);
    mbedtls_pk_init(&it->key);
    need(mbedtls_x509_crt_parse(&it->trusted, (const unsigned char *)trusted, strlen(trusted) + 1), "authority");
    need(mbedtls_ssl_config_defaults(&it->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                     MBEDTLS_SSL_PRESET_DEFAULT), "TLS");
    mbedtls_ssl_conf_authmode(&it->config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&it->config, &it->trusted, NULL);
    mbedtls_ssl_conf_rng(&it->config, mbedtls_ctr_drbg_random, &chance);
#if MBEDTLS_VERSION_NUMBER < 0x03000000 /* later ones know nothing older than TLS 1.2 */
    mbedtls_ssl_conf_min_version(&it->config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
    if (identity != NULL) {
        parse_key(&it->key, identity);
        need(mbedtls_x509_crt_parse(&it->own, (const unsigned char *)identity, strlen(identity) + 1), "certificate");
        need(mbedtls_ssl_conf_own_cert(&it->config, &it->own, &it->key), "certificate");
    }
    need(mbedtls_ssl_setup(&it->ssl, &it->config), "TLS");
    need(mbedtls_ssl_set_hostname(&it->ssl, host), "TLS");
    need(mbedtls_net_connect(&it->net, host, port, MBEDTLS_NET_PROTO_TCP), host);
    mbedtls_ssl_set_bio(&it->ssl, &it->net, mbedtls_net_send, mbedtls_net_recv, NULL);
    need(mbedtls_ssl_handshake(&it->ssl), host);
}

static void write_all(Connection *it, const void *data, size_t length) {
    const unsigned char *from = data;
    while (length > 0) {
        int done = mbedtls_ssl_write(&it->ssl, from, length);
        need(done, "connection");
        from += done;
        length -= (size_t)done;
    }
}

static int read_some(Connection *it, unsigned char *to, size_t most) {
    int done = mbedtls_ssl_read(&it->ssl, to, most);
#ifdef MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET /* TLS 1.3: nothing of ours */
    while (done == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) done = mbedtls_ssl_read(&it->ssl, to, most);
#endif
    return done;
}

static void read_exactly(Connection *it, unsigned char *to, size_t length) {
    while (length > 0) {
        int done = read_some(it, to, length);
        need(done, "connection");
        if (done == 0) die("the connection has ended");
        to += done;
        length -= (size_t)done;
    }
}

static void close_tls(Connection *it) {
    mbedtls_ssl_close_notify(&it->ssl);
    mbedtls_ssl_free(&it->ssl);
    mbedtls_ssl_config_free(&it->config);
    mbedtls_x509_crt_free(&it->trusted);
    mbedtls_x509_crt_free(&it->own);
    mbedtls_pk_free(&it->key);
    mbedtls_net_free(&it->net);
}

/* ---- hub: HTTP and JSON, as much as is needed ---- */

static char *quoted(char *to, const char *text) { /* a JSON string; `text` has no control characters but \n */
    *to++ = '"';
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') *to++ = '\\';
        if (*text == '\n') { *to++ = '\\'; *to++ = 'n'; continue; }
        *to++ = *text;
    }
    *to++ = '"';
    *to = '\0';
    return to;
}

static const char *value_of(const char *json, const char *key) { /* behind the key's colon; NULL when it is not there */
    char wanted[32];
    const char *found;
    snprintf(wanted, sizeof wanted, "\"%s\":", key);
    found = strstr(json, wanted);
    return found == NULL ? NULL : found + strlen(wanted);
}

static int text_of(const char *json, const char *key, char *out) { /* whether it is there, and a string of ASCII */
    const char *from = json == NULL ? NULL : value_of(json, key);
    if (from == NULL || *from++ != '"') return 0;
    for (; *from != '"' && *from != '\0'; from++) {
        if (*from == '\\') {
            from++;
            *out++ = *from == 'n' ? '\n' : *from;
        } else {
            *out++ = *from;
        }
    }
    *out = '\0';
    return 1;
}

static int post(const char *host, const char *port, const char *trusted, const char *path, const char *body, char *answer) {
    static char head[512];
    Connection it;
    size_t length = 0;
    char *begin;
    open_tls(&it, host, port, trusted, NULL);
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
             "Connection: close\r\n\r\n", path, host, strlen(body));
    write_all(&it, head, strlen(head));
    write_all(&it, body, strlen(body));
    while (length < MOST - 1) {
        int done = read_some(&it, (unsigned char *)answer + length, MOST - 1 - length);
        if (done <= 0) break; /* the server ends the connection after its answer */
        length += (size_t)done;
    }
    answer[length] = '\0';
    close_tls(&it);
    begin = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || begin == NULL) die("%s: no answer of hub's", host);
    length = (size_t)atoi(answer + 9);
    memmove(answer, begin + 4, strlen(begin + 4) + 1);
    return (int)length;
}

static void keep(const char *answer, const char *key) { /* the certificate first: with it the device is what it is */
    static char identity[2 * MOST], text[MOST];
    const char *broker = strstr(answer, "\"broker\":"), *port;
    size_t length = strlen(key);
    memcpy(identity, key, length);
    if (!text_of(answer, "certificate", identity + length)) die("hub's answer has no certificate");
    if (text_of(answer, "id", text)) save("id", text);
    if (broker != NULL && text_of(broker, "authority", text)) save("broker.pem", text);
    if (text_of(broker, "host", text) && (port = value_of(broker, "port")) != NULL) {
        snprintf(text + strlen(text), 16, "\n%d", atoi(port));
        save("broker", text);
    }
    save("identity.pem", identity);
    unlink(path_of("next.key"));
}

static void read_file(const char *path, char *text) {
    FILE *file = fopen(path, "rb");
    size_t length;
    if (file == NULL) die("%s: can't be read", path);
    length = fread(text, 1, MOST - 1, file);
    fclose(file);
    text[length] = '\0';
}

static int enrol(const char *host, const char *port, const char *ca, const char *token, const char *serial) {
    static char trusted[MOST], key[MOST], csr[MOST], body[2 * MOST], answer[MOST];
    char *to = body;
    int status;
    if (load("identity.pem", key)) return 0;
    read_file(ca, trusted);
    next_key(key);
    request_of(key, csr);
    to = quoted(to + sprintf(to, "{\"csr\":"), csr);
    to = quoted(to + sprintf(to, ",\"token\":"), token);
    to = quoted(to + sprintf(to, ",\"serial\":"), serial);
    sprintf(to, "}");
    while ((status = post(host, port, trusted, "/api/enroll", body, answer)) == 202) {
        const char *wait = value_of(answer, "again_in_seconds");
        printf("waiting for approval\n");
        fflush(stdout);
        sleep(wait == NULL ? 30 : (unsigned)atoi(wait));
    }
    if (status != 201) die("hub: %d %s", status, answer);
    keep(answer, key);
    return 0;
}

static int renew(const char *host, const char *port, const char *ca) {
    static char trusted[MOST], present[MOST], key[MOST], csr[MOST], text[2 * MOST], body[2 * MOST], answer[MOST];
    char id[128], signature[256], *to = body;
    int status;
    read_file(ca, trusted);
    if (!load("identity.pem", present) || !load("id", text)) die("not enrolled yet");
    if (strlen(text) >= sizeof id) die("%s: too long", path_of("id"));
    memcpy(id, text, strlen(text) + 1);
    next_key(key);
    request_of(key, csr);
    snprintf(text, sizeof text, "headrace reenroll\n%s\n%s", id, csr);
    sign(present, text, signature);
    to = quoted(to + sprintf(to, "{\"id\":"), id);
    to = quoted(to + sprintf(to, ",\"csr\":"), csr);
    to = quoted(to + sprintf(to, ",\"signature\":"), signature);
    sprintf(to, "}");
    status = post(host, port, trusted, "/api/reenroll", body, answer);
    if (status == 409 && text_of(answer, "renew_from", text)) {
        printf("to be renewed from %s\n", text);
        return TOO_EARLY;
    }
    if (status != 201) die("hub: %d %s", status, answer);
    keep(answer, key);
    return 0;
}

/* ---- MQTT 3.1.1 ---- */

static size_t put_text(unsigned char *to, const char *text) {
    size_t length = strlen(text);
    to[0] = (unsigned char)(length >> 8);
    to[1] = (unsigned char)length;
    memcpy(to + 2, text, length);
    return length + 2;
}

static void send_packet(Connection *it, unsigned char type, const unsigned char *body, size_t length) {
    unsigned char head[5];
    size_t used = 0, left = length;
    head[used++] = type;
    do {
        unsigned char digit = left % 128;
        left /= 128;
        head[used++] = left > 0 ? digit | 0x80 : digit;
    } while (left > 0);
    write_all(it, head, used);
    write_all(it, body, length);
}

static int publish(const char *where, const char *topic, const char *payload) {
    static char identity[MOST], trusted[MOST], broker[MOST], id[MOST];
    static unsigned char body[MOST];
    unsigned char answer[4];
    char *port;
    size_t length;
    Connection it;
    if (strlen(topic) + strlen(payload) + 8 > sizeof body) die("the payload is too large");
    if (!load("identity.pem", identity) || !load("broker", broker) || !load("broker.pem", trusted) || !load("id", id))
        die("not enrolled yet, or hub does not know the broker");
    port = strchr(broker, '\n');
    if (port == NULL) die("%s: no port", path_of("broker"));
    *port++ = '\0';
    open_tls(&it, strcmp(where, "-") == 0 ? broker : where, port, trusted, identity);
    length = put_text(body, "MQTT");
    body[length++] = 4;    /* MQTT 3.1.1 */
    body[length++] = 0x02; /* a clean session, no password: the certificate says who this is */
    body[length++] = 0;
    body[length++] = KEEP_ALIVE;
    length += put_text(body + length, id);
    send_packet(&it, 0x10, body, length);
    read_exactly(&it, answer, 4);
    if (answer[0] != 0x20 || answer[3] != 0) die("the broker refuses the connection: %d", answer[3]);
    length = put_text(body, topic);
    body[length++] = 0;
    body[length++] = 1; /* packet id */
    memcpy(body + length, payload, strlen(payload));
    send_packet(&it, 0x32, body, length + strlen(payload)); /* QoS 1 */
    read_exactly(&it, answer, 4);
    if (answer[0] != 0x40 || answer[3] != 1) die("expected the broker's acknowledgement");
    send_packet(&it, 0xE0, body, 0);
    close_tls(&it);
    return 0;
}

int main(int count, char **words) {
    const char *act = count > 2 ? words[1] : "";
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    if (psa_crypto_init() != PSA_SUCCESS) die("mbedTLS does not start");
#endif
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&chance);
    need(mbedtls_ctr_drbg_seed(&chance, mbedtls_entropy_func, &entropy, (const unsigned char *)"device", 6), "randomness");
    folder = count > 2 ? words[2] : "";
    if (strcmp(act, "enrol") == 0 && (count == 7 || count == 8))
        return enrol(words[3], words[4], words[5], words[6], count == 8 ? words[7] : "");
    if (strcmp(act, "publish") == 0 && count == 6) return publish(words[3], words[4], words[5]);
    if (strcmp(act, "renew") == 0 && count == 6) return renew(words[3], words[4], words[5]);
    fprintf(stderr, "usage: device enrol FOLDER HUB PORT CA.pem TOKEN [SERIAL]\n"
                    "       device publish FOLDER HOST TOPIC PAYLOAD\n       device renew FOLDER HUB PORT CA.pem\n");
    return 2;
}
