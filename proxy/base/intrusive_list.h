// A doubly linked list whose nodes are members (or bases) of the objects listed; a node unlinks itself on destruction.
// The list owns nothing and never allocates; adding, removing and testing are O(1).
// A node is in at most one list at a time, and a list that is destroyed leaves its nodes unlinked.
#pragma once

#include "proxy/base/check.h"

namespace weir {

class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { unlink(); }

  bool linked() const { return next_ != nullptr; }
  void unlink() {
    if (next_ == nullptr) return;
    next_->previous_ = previous_;
    previous_->next_ = next_;
    next_ = previous_ = nullptr;
  }

 private:
  template <class, class>
  friend class IntrusiveList;
  ListNode* next_ = nullptr;
  ListNode* previous_ = nullptr;
};

// T derives from Node, which derives from ListNode: an object may sit in several lists through several Node bases.
template <class T, class Node = ListNode>
class IntrusiveList {
 public:
  IntrusiveList() { head_.next_ = head_.previous_ = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    while (!empty()) head_.next_->unlink();
    head_.next_ = head_.previous_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  T& front() { return *item(head_.next_); }
  T& back() { return *item(head_.previous_); }
  void push_back(T& object) { insert(node(object), head_.previous_, &head_); }
  void push_front(T& object) { insert(node(object), &head_, head_.next_); }
  T* pop_front() {
    if (empty()) return nullptr;
    T* first = item(head_.next_);
    node(*first)->unlink();
    return first;
  }
  // The object after `object`, or null at the end.
  T* next(T& object) {
    ListNode* n = node(object)->next_;
    return n == &head_ ? nullptr : item(n);
  }
  T* first() { return empty() ? nullptr : item(head_.next_); }

 private:
  static ListNode* node(T& object) { return static_cast<Node*>(&object); }
  static T* item(ListNode* n) { return static_cast<T*>(static_cast<Node*>(n)); }
  static void insert(ListNode* n, ListNode* before, ListNode* after) {
    DCHECK(!n->linked());
    n->previous_ = before;
    n->next_ = after;
    before->next_ = n;
    after->previous_ = n;
  }
  ListNode head_;
};

}  // namespace weir
