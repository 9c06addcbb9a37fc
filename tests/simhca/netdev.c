// SPDX-License-Identifier: GPL-2.0-only
/*
 * The adapter's network interface
 *
 * The RDMA connection manager finds a device by way of routing: it needs an
 * interface with an address whose subnet the peer is in, and a neighbour entry
 * that resolves.  So each adapter has an interface that carries no packets,
 * needs no ARP, is up, and has the first address of a /24 network:
 * 198.51.100.1 for adapter 0, 198.51.101.1 for adapter 1, and so on.  The
 * target's portals are the addresses that follow.
 *
 * The address is set with an rtnetlink message from a kernel socket: the
 * kernel offers no function for it.
 */
#include <linux/etherdevice.h>
#include <linux/if_addr.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/net_namespace.h>
#include <net/netlink.h>

#include "simhca.h"

static netdev_tx_t netdev_xmit(struct sk_buff *skb, struct net_device *dev)
{
	dev_kfree_skb(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops sim_netdev_ops = {
	.ndo_start_xmit = netdev_xmit,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_set_mac_address = eth_mac_addr,
};

static void netdev_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &sim_netdev_ops;
	dev->needs_free_netdev = false;
	dev->flags |= IFF_NOARP;
	dev->flags &= ~IFF_MULTICAST;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->mtu = 4200;
	dev->min_mtu = 0;
	dev->max_mtu = 0;
}

struct addr_request {
	struct nlmsghdr nlh;
	struct ifaddrmsg ifa;
	struct nlattr attr;
	__be32 addr;
};

static int send_request(struct socket *sock, struct addr_request *req)
{
	struct sockaddr_nl to = { .nl_family = AF_NETLINK };
	struct msghdr msg = { .msg_name = &to, .msg_namelen = sizeof(to) };
	struct kvec vec = { .iov_base = req, .iov_len = sizeof(*req) };
	struct {
		struct nlmsghdr nlh;
		struct nlmsgerr err;
	} reply = {};
	int ret;

	ret = kernel_sendmsg(sock, &msg, &vec, 1, sizeof(*req));
	if (ret < 0)
		return ret;
	vec.iov_base = &reply;
	vec.iov_len = sizeof(reply);
	memset(&msg, 0, sizeof(msg));
	ret = kernel_recvmsg(sock, &msg, &vec, 1, sizeof(reply), MSG_DONTWAIT);
	if (ret < 0)
		return ret;
	return reply.nlh.nlmsg_type == NLMSG_ERROR ? reply.err.error : -EPROTO;
}

static int set_address(struct sim_adapter *ad)
{
	struct addr_request req = {
		.nlh = {
			.nlmsg_len = sizeof(req),
			.nlmsg_type = RTM_NEWADDR,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK |
				       NLM_F_CREATE | NLM_F_REPLACE,
		},
		.ifa = {
			.ifa_family = AF_INET,
			.ifa_prefixlen = 24,
			.ifa_scope = RT_SCOPE_UNIVERSE,
			.ifa_index = ad->netdev->ifindex,
		},
		.attr = {
			.nla_len = NLA_HDRLEN + sizeof(req.addr),
			.nla_type = IFA_LOCAL,
		},
		.addr = htonl(sim_subnet(ad->index) + 1),
	};
	struct socket *sock;
	int ret;

	ret = sock_create_kern(&init_net, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE,
			       &sock);
	if (ret)
		return ret;
	ret = send_request(sock, &req);
	sock_release(sock);
	return ret;
}

static int bring_up(struct net_device *dev)
{
	int ret;

	rtnl_lock();
	ret = dev_change_flags(dev, dev->flags | IFF_UP, NULL);
	rtnl_unlock();
	return ret;
}

/**
 * sim_netdev_link - make the interface's carrier follow the wire
 * @ad: the adapter
 * @up: the wire is there
 *
 * Any context.
 */
void sim_netdev_link(struct sim_adapter *ad, bool up)
{
	if (up)
		netif_carrier_on(ad->netdev);
	else
		netif_carrier_off(ad->netdev);
}

/**
 * sim_netdev_create - create the interface, give it its address, bring it up
 * @ad: the adapter
 *
 * Return: 0 or a negative error number.
 */
int sim_netdev_create(struct sim_adapter *ad)
{
	u8 mac[ETH_ALEN] = { 0x02, 0x51, 0x4d, 0x00, ad->index >> 8,
			     ad->index };
	struct net_device *dev;
	int ret;

	dev = alloc_netdev(0, ad->name, NET_NAME_ENUM, netdev_setup);
	if (!dev)
		return -ENOMEM;
	eth_hw_addr_set(dev, mac);
	ret = register_netdev(dev);
	if (ret) {
		free_netdev(dev);
		return ret;
	}
	ad->netdev = dev;
	ret = bring_up(dev);
	if (!ret)
		ret = set_address(ad);
	if (ret)
		sim_netdev_destroy(ad);
	return ret;
}

/**
 * sim_netdev_destroy - remove the interface
 * @ad: the adapter
 */
void sim_netdev_destroy(struct sim_adapter *ad)
{
	if (!ad->netdev)
		return;
	unregister_netdev(ad->netdev);
	free_netdev(ad->netdev);
	ad->netdev = NULL;
}
