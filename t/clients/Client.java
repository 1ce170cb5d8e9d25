/* Client: the steps of spymemcached; see README.md.
 *
 * usage: java Client PART OPTIONS SERVERS [USER PASSWORD]
 * options: binary ketama nodelay */
import java.io.Serializable;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import net.spy.memcached.AddrUtil;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.ConnectionFactoryBuilder.Locator;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;
import net.spy.memcached.ConnectionObserver;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;
import net.spy.memcached.transcoders.SerializingTranscoder;

public class Client {
    private static final int WAIT_MS = 60000; // a slow machine changes nothing

    private static String part;
    private static String servers;
    private static String[] login;
    private static List<String> options;
    private static boolean binary;
    private static MemcachedClient mc;

    // ---- what is printed ----

    private static void step(String name, Object answer) {
        if (answer instanceof Boolean)
            answer = (Boolean) answer ? "yes" : "no";
        System.out.println(name + " " + (answer == null ? "none" : answer));
    }

    private static void same(String name, Object answer, Object wanted) {
        boolean equal = wanted instanceof byte[] ? Arrays.equals((byte[]) answer, (byte[]) wanted)
                                                 : wanted.equals(answer);
        step(name, equal ? "same" : "other");
    }

    private static void outcome(String name, Future<Boolean> future) throws Exception {
        boolean answer;
        try {
            answer = future.get(WAIT_MS, TimeUnit.MILLISECONDS);
        } catch (ExecutionException error) {
            answer = false;
        }
        step(name, answer);
    }

    private interface Work {
        boolean run(MemcachedClient client) throws Exception;
    }

    /** A step that is refused. After an error the library connects anew, so it is done aside. */
    private static void refused(String name, Work work) throws Exception {
        MemcachedClient client = connect();
        boolean answer;
        try {
            answer = work.run(client);
        } catch (ExecutionException | IllegalArgumentException error) {
            answer = false;
        }
        step(name, answer);
        client.shutdown();
    }

    private static boolean set(String key, Object value) throws Exception {
        return mc.set(key, 0, value).get(WAIT_MS, TimeUnit.MILLISECONDS);
    }

    // ---- the parts ----

    private static void doOneKey() throws Exception {
        outcome("flush", mc.flush());
        String version = mc.getVersions().values().iterator().next();
        step("version", version.replaceFirst("[^0-9.].*", ""));
        step("get-absent", mc.get("k"));
        outcome("set", mc.set("k", 0, "hello"));
        step("get", mc.get("k"));
        set("empty", "");
        same("empty", mc.get("empty"), "");
        outcome("add-present", mc.add("k", 0, "other"));
        outcome("add-absent", mc.add("k2", 0, "other"));
        outcome("replace-present", mc.replace("k", 0, "hello"));
        outcome("replace-absent", mc.replace("k3", 0, "other"));
        outcome("append", mc.append("k", ">"));
        outcome("prepend", mc.prepend("k", "<"));
        step("joined", mc.get("k"));
        outcome("append-absent", mc.append("k3", ">"));
        outcome("prepend-absent", mc.prepend("k3", "<"));
        outcome("delete", mc.delete("k"));
        outcome("delete-again", mc.delete("k"));
        step("deleted", mc.get("k"));
    }

    private static void doCounting() throws Exception {
        set("n", "10");
        step("incr", mc.incr("n", 5));
        step("decr", mc.decr("n", 1));
        step("incr-absent", mc.incr("n2", 1) >= 0);
        step("incr-initial", mc.incr("n3", 5, 7));
        step("decr-initial", mc.decr("n4", 5, 7));
        step("decr-floor", mc.decr("n", 100));
        set("n", "10");
        mc.decr("n", 1);
        step("decr-padded", "[" + mc.get("n") + "]");
        set("n", "18446744073709551615");
        step("incr-wraps", mc.incr("n", 5));
        set("n", "ten");
        refused("incr-text", other -> other.asyncIncr("n", 1).get() >= 0);
    }

    private static void doCas() throws Exception {
        set("c", "first");
        long cas = mc.gets("c").getCas();
        step("cas", mc.cas("c", cas, "second") == CASResponse.OK);
        step("cas-value", mc.get("c"));
        step("cas-stale", mc.cas("c", cas, "other") == CASResponse.OK);
        step("cas-absent", mc.cas("c2", cas, "other") == CASResponse.OK);
    }

    private static void doMany() throws Exception {
        set("a", "1");
        set("b", "2");
        set("c", "3");
        Map<String, Object> found = new TreeMap<>(mc.getBulk("a", "absent", "c"));
        step("multi-get", found.toString().replaceAll("[{},]", ""));
        step("multi-get-none", mc.getBulk("absent", "absent2").size());
        Map<String, String> values = new LinkedHashMap<>();
        List<Future<Boolean>> stored = new ArrayList<>();
        for (int number = 0; number < 1000; number++) {
            values.put("many-" + number, "value " + number);
            stored.add(mc.set("many-" + number, 0, "value " + number));
        }
        int count = 0;
        for (Future<Boolean> future : stored)
            count += future.get(WAIT_MS, TimeUnit.MILLISECONDS) ? 1 : 0;
        step("pipeline-1000", count);
        found = mc.getBulk(values.keySet());
        step("multi-get-1000", found.equals(values) ? found.size() : "other values");
    }

    private static byte[] makeBytes(int size) {
        byte[] bytes = new byte[size];
        for (int i = 0; i < size; i++)
            bytes[i] = (byte) (i * 31 % 256 ^ i >> 8);
        return bytes;
    }

    private static void doValues() throws Exception {
        SerializingTranscoder plain = new SerializingTranscoder(10 << 20);
        plain.setCompressionThreshold(10 << 20);
        byte[] large = makeBytes(1000000);
        outcome("set", mc.set("large", 0, large, plain));
        same("large", mc.get("large", plain), large);
        refused("too-large", other -> other.set("large", 0, makeBytes(3000000), plain).get());
        step("too-large-dropped", mc.get("large"));
        set("k", "hello");
        step("after-too-large", mc.get("k"));
        String text = "again and ".repeat(200000);
        set("compressed", text); // the library compresses what is large
        same("compressed", mc.get("compressed"), text);
        List<Serializable> object = new ArrayList<>(List.of(1, 2.5, "grüße"));
        set("object", object);
        same("object", mc.get("object"), object);
        set("number", 42);
        step("number", mc.get("number"));
        set("utf8", "grüße ☃");
        same("utf8", mc.get("utf8"), "grüße ☃");
        set("bytes", makeBytes(256));
        same("bytes", mc.get("bytes"), makeBytes(256));
        String key = "k".repeat(250);
        set(key, "x");
        step("key-250", "x".equals(mc.get(key)));
        refused("key-251", other -> other.set(key + "k", 0, "x").get());
        set("clé-☃", "x");
        step("key-utf8", "x".equals(mc.get("clé-☃")));
    }

    private static void doTime() throws Exception {
        set("k", "hello");
        outcome("touch", mc.touch("k", 100));
        outcome("touch-absent", mc.touch("absent", 100));
        step("touched", mc.get("k"));
        if (binary) {
            step("gat", mc.getAndTouch("k", 100).getValue());
            step("gat-absent", mc.getAndTouch("absent", 100));
        } else {
            mc.set("past", -1, "x").get();
            step("past", mc.get("past"));
        }
        mc.set("past", 1000000000, "x").get();
        step("past-date", mc.get("past"));
        mc.set("future", 2592000, "hello").get();
        step("future", mc.get("future"));
        mc.set("future", (int) (System.currentTimeMillis() / 1000) + 3000000, "hello").get();
        step("future-date", mc.get("future"));
        mc.touch("future", 1000000000).get();
        step("touch-past", mc.get("future"));
        if (!binary) { // there the library forgets to say when
            mc.flush(1000).get();
            step("flush-later", mc.get("k"));
        }
        outcome("flush-again", mc.flush());
        step("flushed", mc.get("k"));
    }

    private static Map<String, String> stats(String what) {
        return (what == null ? mc.getStats() : mc.getStats(what)).values().iterator().next();
    }

    private static void doServer() throws Exception {
        set("k", "hello");
        Map<String, String> all = stats(null);
        step("stats", Long.parseLong(all.get("pid")) > 0 && Long.parseLong(all.get("cmd_get")) > 0);
        step("stats-settings", "67108864".equals(stats("settings").get("maxbytes")));
        step("stats-items", stats("items").keySet().stream().anyMatch(s -> s.startsWith("items:")));
        step("stats-slabs", stats("slabs").containsKey("active_slabs"));
    }

    // ---- carts ----

    private static String find(String text, String pattern) {
        Matcher found = Pattern.compile(pattern).matcher(text);
        List<String> words = new ArrayList<>();
        while (found.find())
            words.add(found.groupCount() == 2 ? found.group(1) + "=" + found.group(2)
                                              : found.group(1));
        return String.join(" ", words);
    }

    private static String linesOf(Object text) {
        String lines = find((String) text, "\"line\":\"([^\"]*)\".*?\"qty\":(\\d+)");
        return lines.isEmpty() ? "no lines" : lines;
    }

    private static void doCart() throws Exception {
        String cart = "cart:u1";
        step("cart-absent", mc.get(cart));
        step("cart-incr-absent", mc.incr(cart + "/SKU-1/qty", 1) >= 0);
        outcome("cart-add", mc.add(cart + "/SKU-1", 0, "2"));
        outcome("cart-add-again", mc.add(cart + "/SKU-1", 0, "7"));
        step("cart-incr", mc.incr(cart + "/SKU-1/qty", 3));
        step("cart-decr", mc.decr(cart + "/SKU-1/qty", 1));
        step("cart-qty", mc.get(cart + "/SKU-1/qty"));
        String wanted = "{\"qty\":3,\"price\":1999,\"currency\":\"EUR\",\"ext\":\"grüße\"}";
        outcome("cart-set", mc.set(cart + "/SKU-2", 0, wanted));
        String line = (String) mc.get(cart + "/SKU-2");
        step("cart-line", find(line, "\"qty\":(\\d+)") + " x " + find(line, "\"price\":(\\d+)") + " " +
             find((String) mc.get(cart), "\"currency\":\"(\\w+)\"") + " " +
             find(line, "\"ext\":\"([^\"]*)\""));
        step("cart-lines", linesOf(mc.get(cart)));
        outcome("cart-replace", mc.replace(cart + "/SKU-2", 0, "8"));
        outcome("cart-replace-absent", mc.replace(cart + "/SKU-3", 0, "8"));
        set("plain", "a plain value");
        Map<String, Object> found = mc.getBulk(cart, "cart:absent", "plain");
        step("cart-multi-get", linesOf(found.get(cart)) + " and " + found.get("plain"));
        changeWhole(cart);
        refused("cart-append", other -> other.append(cart, "x").get());
        refused("cart-no-number", other -> other.asyncIncr(cart, 1).get() >= 0);
        refused("cart-no-document", other -> other.set(cart, 0, "no document").get());
        outcome("cart-touch", mc.touch(cart, 1000));
        if (binary)
            step("cart-gat", linesOf(mc.getAndTouch(cart, 1000).getValue()));
        endCart(cart);
    }

    private static void changeWhole(String cart) throws Exception {
        CASValue<Object> old = mc.gets(cart);
        set(cart + "/SKU-3", "1");
        step("cart-cas-stale", mc.cas(cart, old.getCas(), old.getValue()) == CASResponse.OK);
        old = mc.gets(cart);
        String whole = "{\"lines\":[{\"line\":\"SKU-1\",\"qty\":9}]}";
        step("cart-cas", mc.cas(cart, old.getCas(), whole) == CASResponse.OK);
        step("cart-cas-lines", linesOf(mc.get(cart)));
    }

    private static void endCart(String cart) throws Exception {
        set(cart + "/SKU-2", "1");
        outcome("cart-remove", mc.delete(cart + "/SKU-2"));
        outcome("cart-remove-again", mc.delete(cart + "/SKU-2"));
        step("cart-removed", mc.get(cart + "/SKU-2/qty"));
        set(cart + "/SKU-4", "1");
        set(cart + "/SKU-4/qty", "0");
        step("cart-by-zero", mc.get(cart + "/SKU-4"));
        mc.flush().get();
        step("cart-after-flush", linesOf(mc.get(cart)));
        step("cart-decr-to-zero", mc.decr(cart + "/SKU-1/qty", 9));
        step("cart-empty", linesOf(mc.get(cart)));
        List<Future<Boolean>> stored = new ArrayList<>();
        for (int number = 0; number < 150; number++)
            stored.add(mc.set(cart + "/SKU-" + number, 0, "2"));
        for (Future<Boolean> future : stored)
            future.get();
        String whole = (String) mc.get(cart);
        step("cart-large", find(whole, "\"count\":(\\d+)") + " lines, " +
             find(whole, "\"count\":\\d+,\"qty\":(\\d+)") + " pieces");
        outcome("cart-delete", mc.delete(cart));
        outcome("cart-delete-again", mc.delete(cart));
        step("cart-deleted", mc.get(cart));
        outcome("cart-left", mc.set("cart:left/SKU-1", 0, "2"));
    }

    // ---- several servers, users ----

    private static void doRing() throws Exception {
        Map<String, String> values = new TreeMap<>();
        for (int number = 0; number < 300; number++)
            values.put("ring-" + number, "" + number);
        if (part.equals("ring")) {
            int stored = 0;
            for (Map.Entry<String, String> pair : values.entrySet())
                stored += set(pair.getKey(), pair.getValue()) ? 1 : 0;
            step("ring-put", stored);
        }
        Map<String, Object> found = mc.getBulk(values.keySet());
        step("ring-get", found.equals(values) ? found.size() : "other values");
    }

    private static void doLogin() throws Exception {
        CompletableFuture<Boolean> stored = new CompletableFuture<>();
        mc.addObserver(new ConnectionObserver() {
            @Override
            public void connectionEstablished(SocketAddress address, int attempt) {}

            @Override
            public void connectionLost(SocketAddress address) {
                stored.complete(false); // the library tries again and again
            }
        });
        mc.set("k", 0, "hello").addListener(future -> stored.complete(future.getStatus().isSuccess()));
        step("login", stored.get());
        if (stored.get()) {
            step("login-get", mc.get("k"));
            step("mechanisms", String.join(" ", mc.listSaslMechanisms()));
        }
    }

    private static MemcachedClient connect() throws Exception {
        ConnectionFactoryBuilder builder = new ConnectionFactoryBuilder()
            .setProtocol(binary ? Protocol.BINARY : Protocol.TEXT)
            .setUseNagleAlgorithm(!options.contains("nodelay"))
            .setDaemon(true)
            .setOpTimeout(WAIT_MS);
        if (options.contains("ketama"))
            builder.setLocatorType(Locator.CONSISTENT)
                .setHashAlg(DefaultHashAlgorithm.KETAMA_HASH);
        if (login.length == 2)
            builder.setAuthDescriptor(new AuthDescriptor(
                new String[] {"PLAIN"}, new PlainCallbackHandler(login[0], login[1])));
        List<InetSocketAddress> addresses = AddrUtil.getAddresses(servers.replace(',', ' '));
        return new MemcachedClient(builder.build(), addresses);
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("net.spy.log.LoggerImpl", "net.spy.memcached.compat.log.SunLogger");
        Logger.getLogger("net.spy.memcached").setLevel(Level.SEVERE);
        System.setOut(new java.io.PrintStream(System.out, true, StandardCharsets.UTF_8));
        part = args[0];
        options = List.of(args[1].split("\\+"));
        login = Arrays.copyOfRange(args, 3, args.length);
        binary = options.contains("binary") || login.length > 0;
        servers = args[2];
        mc = connect();
        if (part.equals("plain")) {
            doOneKey();
            doCounting();
            doCas();
            doMany();
            doValues();
            doTime();
            doServer();
        } else if (part.equals("cart")) {
            doCart();
        } else if (part.equals("login")) {
            doLogin();
        } else {
            doRing();
        }
        System.exit(0); // a shutdown would wait for a server that lets nobody in
    }
}
