<?php
/* rescue_shop: an ordinary PHP shop, one page view.
 *
 * usage: php rescue_shop.php cart SERIALIZER SERVER KEY    the cart is an array under a key
 *        php rescue_shop.php session HANDLER SERVER ID     the cart is in a session
 *
 * Reads the cart and says `read`. Each line it is told, `add SKU`, `remove SKU` or `save`, is done
 * to what it read, written back and answered with `saved`. */
declare(strict_types=1);

[, $kind, $form, $server, $name] = $argv;

function add(array $lines, string $sku): array
{
    foreach ($lines as $at => $line) {
        if ($line['sku'] === $sku) {
            $lines[$at]['qty']++;
            return $lines;
        }
    }
    $lines[] = ['sku' => $sku, 'qty' => 1, 'price' => 19.9];
    return $lines;
}

function change(array $lines, array $words): array
{
    if ($words[0] === 'add') {
        return add($lines, $words[1]);
    }
    if ($words[0] === 'remove') {
        return array_values(array_filter($lines, fn($line) => $line['sku'] !== $words[1]));
    }
    return $lines;
}

function say(string $text): void
{
    echo $text, "\n";
}

function words(): ?array
{
    $line = fgets(STDIN);
    return $line === false ? null : explode(' ', trim($line));
}

if ($kind === 'session') {
    ini_set('session.save_handler', 'memcached');
    ini_set('session.save_path', $server);
    ini_set('session.serialize_handler', $form);
    ini_set('session.use_cookies', '0');
    ini_set('session.cache_limiter', '');
    ini_set('memcached.sess_locking', '0'); // as shops do whose pages must not wait
    ini_set('memcached.sess_prefix', 'sess:');
    session_id($name);
    session_start();
    say('read');
    $words = words();
    $_SESSION['cart'] = change($_SESSION['cart'] ?? [], $words);
    session_write_close();
    say('saved');
} else {
    [$host, $port] = explode(':', $server);
    $mc = new Memcached();
    $mc->addServer($host, (int) $port);
    $mc->setOption(Memcached::OPT_SERIALIZER, constant("Memcached::SERIALIZER_$form"));
    $cart = $mc->get($name) ?: ['lines' => []];
    say('read');
    while (($words = words()) !== null) {
        $cart['lines'] = change($cart['lines'], $words);
        say($mc->set($name, $cart) ? 'saved' : $mc->getResultMessage());
    }
}
