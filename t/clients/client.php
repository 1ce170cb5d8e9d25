<?php
/* client: the steps of php-memcached; see README.md.
 *
 * usage: php client.php PART OPTIONS SERVERS [USER PASSWORD]
 * options: binary noblock nodelay ketama igbinary */
declare(strict_types=1);

[, $part, $options, $servers] = $argv;
$login = array_slice($argv, 4);
$options = explode('+', $options);

function step(string $name, mixed $answer, string $remark = ''): void
{
    $answer = is_bool($answer) ? ($answer ? 'yes' : 'no') : ($answer ?? 'none');
    echo "$name $answer", $remark === '' ? '' : "\t$remark", "\n";
}

/** A step that may fail: what the library says of it. */
function outcome(string $name, Memcached $mc, mixed $answer): void
{
    step($name, $answer, $answer === false ? $mc->getResultMessage() : '');
}

function same(string $name, mixed $answer, mixed $wanted): void
{
    step($name, $answer == $wanted ? 'same' : 'other');
}

/** The value; null on a miss. */
function value(Memcached $mc, string $key): mixed
{
    $value = $mc->get($key);
    return $mc->getResultCode() === Memcached::RES_NOTFOUND ? null : $value;
}

function connect(array $more = []): Memcached
{
    global $options, $servers, $login;
    $mc = new Memcached();
    $names = ['binary' => Memcached::OPT_BINARY_PROTOCOL, 'noblock' => Memcached::OPT_NO_BLOCK,
              'nodelay' => Memcached::OPT_TCP_NODELAY];
    foreach ($names as $name => $option) {
        $mc->setOption($option, in_array($name, $options));
    }
    if (in_array('ketama', $options)) {
        // The library's own switch is the weighted one.
        $mc->setOption(Memcached::OPT_LIBKETAMA_COMPATIBLE, true);
    }
    if (in_array('igbinary', $options)) {
        $mc->setOption(Memcached::OPT_SERIALIZER, Memcached::SERIALIZER_IGBINARY);
    }
    foreach ($more as $option => $value) {
        $mc->setOption($option, $value);
    }
    foreach (explode(',', $servers) as $server) {
        if ($server[0] === '/') {
            $mc->addServer($server, 0);
        } else {
            [$host, $port] = explode(':', $server);
            $mc->addServer($host, (int) $port);
        }
    }
    if ($login) {
        $mc->setSaslAuthData($login[0], $login[1]);
    }
    return $mc;
}

function doOneKey(Memcached $mc): void
{
    step('flush', $mc->flush());
    step('version', current($mc->getVersion()));
    step('get-absent', value($mc, 'k'));
    step('set', $mc->set('k', 'hello'));
    step('get', value($mc, 'k'));
    $mc->set('empty', '');
    same('empty', value($mc, 'empty'), '');
    outcome('add-present', $mc, $mc->add('k', 'other'));
    step('add-absent', $mc->add('k2', 'other'));
    step('replace-present', $mc->replace('k', 'hello'));
    outcome('replace-absent', $mc, $mc->replace('k3', 'other'));
    $mc->setOption(Memcached::OPT_COMPRESSION, false); // else it refuses to append
    step('append', $mc->append('k', '>'));
    step('prepend', $mc->prepend('k', '<'));
    step('joined', value($mc, 'k'));
    outcome('append-absent', $mc, $mc->append('k3', '>'));
    outcome('prepend-absent', $mc, $mc->prepend('k3', '<'));
    $mc->setOption(Memcached::OPT_COMPRESSION, true);
    step('delete', $mc->delete('k'));
    outcome('delete-again', $mc, $mc->delete('k'));
    step('deleted', value($mc, 'k'));
}

function doCounting(Memcached $mc): void
{
    global $options;
    $mc->set('n', '10');
    step('incr', $mc->increment('n', 5));
    step('decr', $mc->decrement('n', 1));
    outcome('incr-absent', $mc, $mc->increment('n2', 1));
    step('decr-floor', $mc->decrement('n', 100));
    $mc->set('n', '10');
    $mc->decrement('n', 1);
    step('decr-padded', '[' . value($mc, 'n') . ']');
    $mc->set('n', '18446744073709551615');
    step('incr-wraps', $mc->increment('n', 5));
    $mc->set('n', 'ten');
    outcome('incr-text', $mc, $mc->increment('n', 1));
    if (in_array('binary', $options)) {
        step('incr-initial', $mc->increment('n3', 5, 7));
        step('decr-initial', $mc->decrement('n4', 5, 7));
    }
}

function doCas(Memcached $mc): void
{
    $mc->set('c', 'first');
    $cas = $mc->get('c', null, Memcached::GET_EXTENDED)['cas'];
    step('cas', $mc->cas($cas, 'c', 'second'));
    step('cas-value', value($mc, 'c'));
    outcome('cas-stale', $mc, $mc->cas($cas, 'c', 'other'));
    outcome('cas-absent', $mc, $mc->cas($cas, 'c2', 'other'));
}

function doMany(Memcached $mc): void
{
    step('multi-set', $mc->setMulti(['a' => '1', 'b' => '2', 'c' => '3']));
    $found = $mc->getMulti(['a', 'absent', 'c'], Memcached::GET_PRESERVE_ORDER);
    step('multi-get', "a={$found['a']} c={$found['c']}");
    step('multi-get-none', count($mc->getMulti(['absent', 'absent2'])));
    $mc->getDelayed(['a', 'b', 'absent', 'c'], true);
    step('multi-get-cas', count(array_filter(array_column($mc->fetchAll(), 'cas'))));
    step('multi-delete', array_sum($mc->deleteMulti(['a', 'b', 'c'])) === 3);
    step('multi-deleted', count($mc->getMulti(['a', 'b', 'c'])));
    $values = [];
    for ($number = 0; $number < 1000; $number++) {
        $values["many-$number"] = "value $number";
    }
    $mc->setMulti($values);
    step('multi-get-1000', count(array_intersect_assoc($mc->getMulti(array_keys($values)), $values)));
}

function doValues(Memcached $mc): void
{
    global $options;
    $large = substr(str_repeat(implode('', array_map('chr', range(1, 251))), 4000), 0, 1000000);
    $plain = connect([Memcached::OPT_COMPRESSION => false]);
    $plain->set('large', $large);
    same('large', value($plain, 'large'), $large);
    outcome('too-large', $plain, $plain->set('large', str_repeat($large, 3)));
    step('too-large-dropped', value($plain, 'large'));
    $mc->set('k', 'hello');
    step('after-too-large', value($mc, 'k'));
    $mc->set('compressed', str_repeat($large, 3));
    same('compressed', value($mc, 'compressed'), str_repeat($large, 3));
    $object = ['list' => [1, 2.5, null], 'text' => 'grüße'];
    $mc->set('object', $object);
    same('object', value($mc, 'object'), $object);
    $mc->set('number', 42);
    step('number', value($mc, 'number'));
    $mc->set('utf8', 'grüße ☃');
    same('utf8', value($mc, 'utf8'), 'grüße ☃');
    $bytes = str_repeat(implode('', array_map('chr', range(0, 255))), 4);
    $plain->set('bytes', $bytes);
    same('bytes', value($plain, 'bytes'), $bytes);
    $mc->set('flags', 'x');
    $flags = connect([Memcached::OPT_USER_FLAGS => 77]);
    $flags->set('flags', 'x');
    step('kept-flags', $mc->get('flags', null, Memcached::GET_EXTENDED)['flags']);
    $key = str_repeat('k', 250);
    step('key-250', $mc->set($key, 'x') && value($mc, $key) === 'x');
    outcome('key-251', $mc, $mc->set("{$key}k", 'x'));
    if (in_array('binary', $options)) {
        step('key-utf8', $mc->set('clé-☃', 'x') && value($mc, 'clé-☃') === 'x');
    }
    $prefixed = connect([Memcached::OPT_PREFIX_KEY => 'shop:']);
    $prefixed->set('k', 'prefixed');
    same('prefix', value($mc, 'shop:k'), 'prefixed');
}

function doTime(Memcached $mc): void
{
    $mc->set('k', 'hello');
    step('touch', $mc->touch('k', 100));
    outcome('touch-absent', $mc, $mc->touch('absent', 100));
    step('touched', value($mc, 'k'));
    $mc->set('past', 'x', 1000000000);
    step('past-date', value($mc, 'past'));
    $mc->set('future', 'hello', 2592000);
    step('future', value($mc, 'future'));
    $mc->set('future', 'hello', time() + 3000000);
    step('future-date', value($mc, 'future'));
    $mc->touch('future', 1000000000);
    step('touch-past', value($mc, 'future'));
    $mc->flush(1000);
    step('flush-later', value($mc, 'k'));
    step('flush-again', $mc->flush());
    step('flushed', value($mc, 'k'));
}

function doSilence(Memcached $mc): void
{
    $mc->setOption(Memcached::OPT_NOREPLY, true);
    for ($number = 0; $number < 100; $number++) {
        $mc->set("quiet-$number", "$number");
    }
    $right = 0;
    for ($number = 0; $number < 100; $number++) {
        $right += value($mc, "quiet-$number") === "$number";
    }
    step('quiet-set', $right);
    $mc->delete('quiet-1');
    step('quiet-delete', value($mc, 'quiet-1'));
    $mc->set('k', 'hello');
    $mc->add('k', 'other');
    step('quiet-add-present', value($mc, 'k'));
    $mc->setOption(Memcached::OPT_NOREPLY, false);
    $buffered = connect([Memcached::OPT_BUFFER_WRITES => true]);
    for ($number = 0; $number < 100; $number++) {
        $buffered->set("buffered-$number", "$number");
    }
    $right = 0;
    for ($number = 0; $number < 100; $number++) {
        $right += value($buffered, "buffered-$number") === "$number";
    }
    step('buffered', $right);
}

function doServer(Memcached $mc): void
{
    global $options;
    $stats = current($mc->getStats());
    step('stats', $stats['pid'] > 0 && $stats['cmd_get'] > 0 && isset($stats['curr_items']));
    $settings = current($mc->getStats('settings'));
    step('stats-settings', ($settings['maxbytes'] ?? 0) == 64 << 20);
}

function linesOf(?string $text): string
{
    $lines = json_decode($text ?? '{"lines":[]}')->lines;
    $words = array_map(fn ($line) => "$line->line=$line->qty", $lines);
    return implode(' ', $words) ?: 'no lines';
}

function doCart(Memcached $mc, string $cart = 'cart:u1'): void
{
    step('cart-absent', value($mc, $cart));
    outcome('cart-incr-absent', $mc, $mc->increment("$cart/SKU-1/qty", 1));
    step('cart-add', $mc->add("$cart/SKU-1", 2)); // a number, as PHP has it
    outcome('cart-add-again', $mc, $mc->add("$cart/SKU-1", 7));
    step('cart-incr', $mc->increment("$cart/SKU-1/qty", 3));
    step('cart-decr', $mc->decrement("$cart/SKU-1/qty", 1));
    step('cart-qty', value($mc, "$cart/SKU-1/qty"));
    $line = ['qty' => 3, 'price' => 1999, 'currency' => 'EUR', 'ext' => 'grüße'];
    step('cart-set', $mc->set("$cart/SKU-2", json_encode($line)));
    $line = json_decode(value($mc, "$cart/SKU-2"));
    $whole = json_decode(value($mc, $cart));
    step('cart-line', "$line->qty x $line->price $whole->currency $line->ext");
    step('cart-lines', linesOf(value($mc, $cart)));
    step('cart-replace', $mc->replace("$cart/SKU-2", '8'));
    outcome('cart-replace-absent', $mc, $mc->replace("$cart/SKU-3", '8'));
    $mc->set('plain', 'a plain value');
    $found = $mc->getMulti([$cart, 'cart:absent', 'plain']);
    step('cart-multi-get', linesOf($found[$cart]) . " and {$found['plain']}");
    changeWhole($mc, $cart);
    $mc->setOption(Memcached::OPT_COMPRESSION, false);
    outcome('cart-append', $mc, $mc->append($cart, 'x'));
    outcome('cart-no-number', $mc, $mc->increment($cart, 1));
    outcome('cart-no-document', $mc, $mc->set($cart, 'no document'));
    step('cart-touch', $mc->touch($cart, 1000));
    $mc->set("$cart/SKU-2", '1');
    step('cart-remove', $mc->delete("$cart/SKU-2"));
    outcome('cart-remove-again', $mc, $mc->delete("$cart/SKU-2"));
    step('cart-removed', value($mc, "$cart/SKU-2/qty"));
    endCart($mc, $cart);
}

function changeWhole(Memcached $mc, string $cart): void
{
    ['value' => $text, 'cas' => $cas] = $mc->get($cart, null, Memcached::GET_EXTENDED);
    $mc->set("$cart/SKU-3", '1');
    outcome('cart-cas-stale', $mc, $mc->cas($cas, $cart, $text));
    ['value' => $text, 'cas' => $cas] = $mc->get($cart, null, Memcached::GET_EXTENDED);
    $whole = json_decode($text);
    $whole->lines = [$whole->lines[0]];
    $whole->lines[0]->qty = 9;
    step('cart-cas', $mc->cas($cas, $cart, json_encode($whole)));
    step('cart-cas-lines', linesOf(value($mc, $cart)));
}

function endCart(Memcached $mc, string $cart): void
{
    $mc->set("$cart/SKU-4", '1');
    $mc->set("$cart/SKU-4/qty", '0');
    step('cart-by-zero', value($mc, "$cart/SKU-4"));
    $mc->flush();
    step('cart-after-flush', linesOf(value($mc, $cart)));
    step('cart-decr-to-zero', $mc->decrement("$cart/SKU-1/qty", 9));
    step('cart-empty', linesOf(value($mc, $cart)));
    $lines = [];
    for ($number = 0; $number < 150; $number++) {
        $lines["$cart/SKU-$number"] = '2';
    }
    $mc->setMulti($lines);
    $whole = json_decode(value($mc, $cart));
    step('cart-large', "$whole->count lines, $whole->qty pieces");
    step('cart-delete', $mc->delete($cart));
    outcome('cart-delete-again', $mc, $mc->delete($cart));
    step('cart-deleted', value($mc, $cart));
    step('cart-left', $mc->set('cart:left/SKU-1', '2'));
}

function doRing(Memcached $mc, bool $put): void
{
    $values = [];
    for ($number = 0; $number < 300; $number++) {
        $values["ring-$number"] = "$number";
    }
    if ($put) {
        step('ring-put', $mc->setMulti($values) ? count($values) : 0);
    }
    step('ring-get', count(array_intersect_assoc($mc->getMulti(array_keys($values)), $values)));
}

function doLogin(Memcached $mc): void
{
    outcome('login', $mc, $mc->set('k', 'hello'));
    // Any false is "no": it asks in two packets, and memcached closes after the first. Whether it
    // meets the answer or the closed connection is a race.
    outcome('login-get', $mc, $mc->get('k'));
}

$mc = connect();
match ($part) {
    'plain' => array_map(fn ($do) => $do($mc), ['doOneKey', 'doCounting', 'doCas', 'doMany',
                                                'doValues', 'doTime', 'doSilence', 'doServer']),
    'cart' => doCart($mc),
    'ring', 'ring-get' => doRing($mc, $part === 'ring'),
    'login' => doLogin($mc),
};
