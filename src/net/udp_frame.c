/* udp_frame: the frame of a datagram: request id, index, count, each two bytes big endian, and two
 * bytes of zero. What stands in those two is not looked at, as in memcached. */
#include "net/net.h"

static uint16_t get_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void put_u16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

bool udp_frame_parse(struct slice datagram, struct udp_frame *frame, struct slice *payload)
{
    if (datagram.len <= NET_UDP_HEAD_BYTES)
        return false;
    *frame = (struct udp_frame){.id = get_u16(datagram.bytes),
                                .index = get_u16(datagram.bytes + 2),
                                .count = get_u16(datagram.bytes + 4)};
    *payload = slice_from(datagram, NET_UDP_HEAD_BYTES);
    return true;
}

void udp_frame_put(uint8_t head[NET_UDP_HEAD_BYTES], const struct udp_frame *frame)
{
    put_u16(head, frame->id);
    put_u16(head + 2, frame->index);
    put_u16(head + 4, frame->count);
    put_u16(head + 6, 0);
}
